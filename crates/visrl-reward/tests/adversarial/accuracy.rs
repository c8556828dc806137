//! Rules about the answer.

use visrl_reward::RewardRule;
use visrl_reward::matchers::{MatcherKind, Numeric};
use visrl_reward::rules::{
    CvBenchScore, ExactCompletion, LenientEvaluation, ReferenceTagAccuracy, SatAccuracy,
    StrictTagAccuracy, TrimmedCompletion,
};

use crate::*;

#[test]
fn strict_tag_accuracy() {
    check(
        StrictTagAccuracy::default(),
        &coat(),
        &[
            ("<answer>Coat</answer>", YES, "the tag holds the label"),
            (
                "<think>a bag?</think><answer> coat\n</answer>",
                YES,
                "blanks and case are free",
            ),
            ("", NO, "nothing is no answer"),
            ("Coat", NO, "the tag must be there"),
            ("<answer></answer>", NO, "an empty answer is wrong"),
            (
                "<answer>Bag, Coat, Raincoat</answer>",
                NO,
                "all choices listed",
            ),
            (
                "<answer>Bag</answer><answer>Coat</answer>",
                NO,
                "two guesses",
            ),
            (
                "<answer>Coat</answer><answer>Coat</answer>",
                NO,
                "twice is not once",
            ),
            (
                "<answer><answer>Coat</answer></answer>",
                NO,
                "a tag inside the tag",
            ),
            (
                "<think><answer>Coat</answer></think>",
                NO,
                "answered only in the thought",
            ),
            (
                "<think>Coat</think><answer>Bag</answer>",
                NO,
                "the thought does not count",
            ),
            (
                "<think><answer>Coat</answer>",
                NO,
                "the thought never ended",
            ),
            (
                "<answer>Raincoat</answer>",
                NO,
                "contains the label, is another",
            ),
            ("<answer>Coa</answer>", NO, "a part of the label"),
            (
                "<answer>\u{200b}Coat</answer>",
                NO,
                "a zero-width space is no blank",
            ),
            (
                "<answer>Co\u{ad}at</answer>",
                NO,
                "a soft hyphen is a character",
            ),
            ("<ANSWER>Coat</ANSWER>", NO, "tags are lower case"),
            ("<answer >Coat</answer>", NO, "tags have no blanks"),
            ("<answer>Coat", NO, "the tag is not closed"),
        ],
    );
    let bare = StrictTagAccuracy::default().score("<answer></answer>", &example("", &[]));
    assert_eq!(bare, None, "an empty answer must not match an empty label");
}

#[test]
fn reference_tag_accuracy() {
    check(
        ReferenceTagAccuracy::default(),
        &coat(),
        &[
            ("<answer>Coat</answer>", YES, "the tag holds the label"),
            (
                "coat",
                YES,
                "known fault: without tags the whole completion is compared",
            ),
            (
                "<answer>Coat</answer><answer>Bag</answer>",
                YES,
                "known fault: the first counts",
            ),
            (
                "<think><answer>Coat</answer></think>",
                YES,
                "known fault: even in the thought",
            ),
            (
                "<answer>\nCoat\n</answer>",
                NO,
                "known fault: an answer stands on one line",
            ),
            (
                "<answer>Bag\n</answer><answer>Coat</answer>",
                YES,
                "so the second is the first",
            ),
            ("", NO, "nothing is no answer"),
            ("<answer></answer>", NO, "an empty answer is wrong"),
            ("Bag, Coat, Raincoat", NO, "all choices listed"),
            (
                "<answer><answer>Coat</answer></answer>",
                NO,
                "the inner tag is text",
            ),
            (
                "<answer>Raincoat</answer>",
                NO,
                "contains the label, is another",
            ),
            (
                "<answer>\u{200b}Coat</answer>",
                NO,
                "a zero-width space is no blank",
            ),
            (
                "<answer>\u{3000}Coat\u{1f}</answer>",
                YES,
                "Python's blanks are blanks",
            ),
        ],
    );
    check(
        ReferenceTagAccuracy { underscore: true },
        &example("american_bulldog", &[]),
        &[
            ("American Bulldog", YES, "blanks for underscores"),
            ("american_bulldog", YES, "as it is written"),
            ("american-bulldog", NO, "nothing else for underscores"),
        ],
    );
}

#[test]
fn sat_accuracy() {
    let label = example("B", &["left", "right"]);
    check(
        SatAccuracy::default(),
        &label,
        &[
            ("<answer>B</answer>", YES, "the letter"),
            (
                "B",
                YES,
                "known fault: without tags the whole completion is compared",
            ),
            ("b", NO, "case counts"),
            ("(B)", NO, "the reference's last letter is never defined"),
            ("", NO, "nothing"),
            ("A B", NO, "all choices listed"),
        ],
    );
    check(
        SatAccuracy { last_letter: true },
        &label,
        &[
            ("(B)", YES, "the last letter, as it was meant"),
            ("A or B", YES, "known fault: the last of a list wins"),
            ("B or A", NO, "the last one is another"),
            ("<answer>\u{200b}B</answer>", YES, "the letter stands alone"),
            ("BBC B2", NO, "letters of words are no options"),
        ],
    );
}

#[test]
fn exact_and_trimmed_completion() {
    check(
        ExactCompletion::default(),
        &coat(),
        &[
            ("Coat", YES, "the label to the letter"),
            ("coat", NO, "case counts"),
            ("Coat\n", NO, "the completion is not stripped"),
            (" Coat", NO, "the completion is not stripped"),
            ("Coat.", NO, "no full stop"),
            ("", NO, "nothing"),
            ("Bag Coat Raincoat", NO, "all choices listed"),
            ("<answer>Coat</answer>", NO, "tags are text here"),
            ("Raincoat", NO, "contains the label, is another"),
            ("Coat\u{200b}", NO, "a zero-width space is a character"),
        ],
    );
    check(
        TrimmedCompletion::default(),
        &coat(),
        &[
            ("Coat", YES, "the label"),
            ("\u{85} Coat\u{1c}\n", YES, "blanks at the ends are free"),
            ("coat", NO, "case counts"),
            ("", NO, "nothing"),
            ("Coat Coat", NO, "said twice"),
            ("Raincoat", NO, "contains the label, is another"),
            ("\u{feff}Coat", NO, "a byte order mark is no blank"),
        ],
    );
    check(
        TrimmedCompletion {
            matcher: MatcherKind::Numeric(Numeric::default()),
        },
        &example("1/2", &[]),
        &[
            ("0.5", YES, "the same number"),
            ("$\\frac{1}{2}$", YES, "the same number in LaTeX"),
            ("50%", YES, "the same number in per cent"),
            ("1/2 0.5", NO, "two numbers are none"),
            ("0.5 or 1", NO, "a sentence is no number"),
            ("1/0", NO, "no number at all"),
            ("NaN", NO, "no number by name"),
        ],
    );
    check(
        TrimmedCompletion {
            matcher: MatcherKind::OptionLetter,
        },
        &example("(B)", &["left", "right"]),
        &[
            ("b.", YES, "the letter, marked"),
            ("(B) right", YES, "the letter and its text"),
            ("(A)(B)", NO, "the first letter is another"),
            ("B A", NO, "a bare letter stands alone"),
            ("", NO, "nothing"),
        ],
    );
}

#[test]
fn lenient_evaluation() {
    check(
        LenientEvaluation {},
        &coat(),
        &[
            ("<answer>Coat</answer>", YES, "the tag holds the label"),
            ("a coat", YES, "it contains the label"),
            (
                "<answer>Raincoat</answer>",
                YES,
                "known fault: so does this",
            ),
            (
                "<answer>Bag, Coat, Raincoat</answer>",
                YES,
                "known fault: all choices listed",
            ),
            (
                "<think>Coat</think><answer></answer>",
                YES,
                "known fault: empty falls back to all",
            ),
            (
                "<think><answer>Coat</answer></think><answer>Bag</answer>",
                YES,
                "the first counts",
            ),
            (
                "<answer>\u{200b}Coat</answer>",
                YES,
                "whatever stands around it",
            ),
            (
                "<think>Coat</think><answer>Bag</answer>",
                NO,
                "the thought does not count",
            ),
            (
                "<answer>Bag</answer><answer>Coat</answer>",
                NO,
                "the first counts",
            ),
            (
                "<answer>C\u{200b}oat</answer>",
                NO,
                "a character within breaks the name",
            ),
            ("", NO, "nothing"),
        ],
    );
}

#[test]
fn cv_bench() {
    check(
        CvBenchScore {},
        &example("(B)", &["left", "right"]),
        &[
            ("<think>A</think><answer>(B)</answer>", YES, "the letter"),
            ("<answer>right</answer>", YES, "the choice"),
            ("<answer>\n b. \n</answer>", YES, "the small letter"),
            ("It is on the right.", YES, "the choice in a sentence"),
            ("RIGHT", NO, "known fault: choices are case-sensitive"),
            (
                "<answer>(A) (B)</answer>",
                NO,
                "of a list the beginning counts",
            ),
            (
                "not left but right or left",
                NO,
                "of a sentence the end counts",
            ),
            ("<answer>bright</answer>", NO, "part of another word"),
            (
                "<answer>\u{200b}right</answer>",
                NO,
                "a zero-width space is no blank",
            ),
            ("<answer></answer>", NO, "nothing"),
            ("", NO, "nothing"),
        ],
    );
    let foreign = CvBenchScore {}.score("right", &example("right", &["left", "right"]));
    assert_eq!(foreign, None, "the label is no bracketed letter");
}
