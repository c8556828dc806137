//! Formats, penalties, agreement of thought and answer.

use visrl_reward::rules::{
    AdaptiveFormat, AnswerReasonFormat, LengthUnit, OverlongPenalty, RepetitionPenalty, TagUse,
    ThinkAnswerAgreement, ThinkAnswerFormat,
};

use crate::*;

#[test]
fn formats() {
    let think: &[Case<'_>] = &[
        ("<think>a</think>\n<answer>b</answer>", YES, "the format"),
        (
            "<think></think><answer></answer>",
            YES,
            "nothing said, in the right form",
        ),
        ("", NO, "nothing"),
        ("<answer>b</answer>", NO, "no thought"),
        ("<think>a</think>", NO, "no answer"),
        (
            "<answer>b</answer><think>a</think>",
            NO,
            "the wrong way round",
        ),
        (
            " <think>a</think><answer>b</answer>",
            NO,
            "something before",
        ),
        (
            "<think>a</think><answer>b</answer>\n",
            NO,
            "something after",
        ),
        (
            "<think>a</think>so<answer>b</answer>",
            NO,
            "something between",
        ),
        (
            "<think>a</think>\u{200b}<answer>b</answer>",
            NO,
            "a zero-width space is no blank",
        ),
        (
            "<think>a</think>\u{85}\u{1c}<answer>b</answer>",
            YES,
            "Python's blanks are blanks",
        ),
        ("<think>a<answer>b</think></answer>", NO, "crossed tags"),
    ];
    let nested = "<think><answer>b</answer></think><answer>b</answer>";
    for tags in [TagUse::Any, TagUse::Once] {
        check(ThinkAnswerFormat { tags }, &coat(), think);
    }
    check(
        ThinkAnswerFormat::default(),
        &coat(),
        &[(nested, YES, "known fault: tags may hide")],
    );
    let once = ThinkAnswerFormat { tags: TagUse::Once };
    check(once, &coat(), &[(nested, NO, "a second answer")]);
    for tags in [TagUse::Any, TagUse::Once] {
        check(
            AnswerReasonFormat { tags },
            &coat(),
            &[
                ("<answer>b</answer> <reason>a</reason>", YES, "the format"),
                (
                    "<reason>a</reason><answer>b</answer>",
                    NO,
                    "the wrong way round",
                ),
                ("<answer>b</answer>", NO, "no reason"),
                (
                    "<answer>b<reason>a</reason></answer>",
                    NO,
                    "one within the other",
                ),
                (
                    "<answer>b</answer><reason>a</reason>.",
                    NO,
                    "something after",
                ),
                ("", NO, "nothing"),
            ],
        );
        check(
            AdaptiveFormat { tags },
            &coat(),
            &[
                ("<answer>b</answer>", YES, "the answer alone"),
                (
                    "<think>a</think> <answer>b</answer>",
                    YES,
                    "thought and answer",
                ),
                ("<think>a</think>", NO, "no answer"),
                ("b", NO, "no tags"),
                ("<answer>b", NO, "not closed"),
                ("a<answer>b</answer>", NO, "a thought without tags"),
            ],
        );
    }
    let two = "<answer>a</answer><answer>b</answer>";
    check(
        AdaptiveFormat::default(),
        &coat(),
        &[(two, YES, "known fault: tags may hide")],
    );
    check(
        AdaptiveFormat { tags: TagUse::Once },
        &coat(),
        &[(two, NO, "two answers")],
    );
}

#[test]
fn penalties() {
    let overlong = OverlongPenalty {
        max_length: 8,
        buffer: 4,
        unit: LengthUnit::Chars,
    };
    check(
        overlong,
        &coat(),
        &[
            ("", NO, "nothing is not too long"),
            ("1234", NO, "up to the buffer it is free"),
            ("123456", Some(-0.5), "half into the buffer"),
            ("中中中中中中", Some(-0.5), "characters, not bytes"),
            (
                "\u{200b}\u{200b}\u{200b}\u{200b}\u{200b}\u{200b}",
                Some(-0.5),
                "unseen ones count",
            ),
            ("12345678", Some(-1.0), "at the limit"),
            ("123456789", Some(-1.0), "beyond it"),
        ],
    );
    let words = OverlongPenalty {
        max_length: 2,
        buffer: 2,
        unit: LengthUnit::Words,
    };
    check(
        words,
        &coat(),
        &[("    a    ", Some(-0.5), "one word, whatever the blanks")],
    );
    check(
        RepetitionPenalty {
            ngram: 2,
            max_penalty: -1.0,
        },
        &coat(),
        &[
            ("", NO, "nothing repeats nothing"),
            ("a b c", NO, "no pair twice"),
            (
                "coat coat coat coat coat",
                Some(-0.75),
                "one pair four times",
            ),
            (
                "Coat coat COAT coat coat",
                Some(-0.75),
                "case does not hide it",
            ),
            (
                "coat\u{3000}coat\ncoat coat coat",
                Some(-0.75),
                "nor do other blanks",
            ),
        ],
    );
}

#[test]
fn agreement() {
    check(
        ThinkAnswerAgreement {},
        &coat(),
        &[
            (
                "<think>Not a bag, a coat.</think><answer>Coat</answer>",
                YES,
                "they agree",
            ),
            (
                "<think>Not a bag, a coat.</think><answer>Bag</answer>",
                NO,
                "they do not",
            ),
            (
                "<think>It is a bag.</think><answer>Bag</answer>",
                YES,
                "agreed, though wrong",
            ),
            (
                "<think>A raincoat.</think><answer>Coat</answer>",
                NO,
                "coat within raincoat",
            ),
            (
                "<think>Bag, Coat, Raincoat</think><answer>Coat</answer>",
                NO,
                "the last one counts",
            ),
            (
                "<think>Hm.</think><answer>Coat</answer>",
                None,
                "the thought names none",
            ),
            ("<think>coat</think>Coat", None, "no answer"),
            ("<answer>Coat</answer>", None, "no thought"),
            (
                "<think>coat</think><answer></answer>",
                None,
                "an empty answer",
            ),
            ("", None, "nothing"),
        ],
    );
}
