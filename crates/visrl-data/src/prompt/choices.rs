use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use visrl_core::{Domain, SeedStream};

/// Tells the names' stream apart from others of [`Domain::Data`], such as the order of examples.
const CHOICES: u64 = 0x6368_6f69_6365_7331;

/// How many names a list of choices shows, out of C classes.
///
/// The default is the paper's few-shot rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ChoiceRule {
    /// No list: the question is open.
    Open,
    /// All names.
    All,
    /// The paper's rule: `n = int(fraction * C)`; all C if n is below `all_below`; at most
    /// `at_most`.
    Fraction {
        /// The part of the classes shown.
        fraction: f64,
        /// A shorter list than this shows all names instead.
        all_below: usize,
        /// The longest list.
        at_most: usize,
    },
}

impl ChoiceRule {
    /// The paper's rule in few-shot training: 0.4 C.
    pub const fn few_shot() -> Self {
        Self::Fraction {
            fraction: 0.4,
            all_below: 30,
            at_most: 100,
        }
    }

    /// The paper's rule in base-to-new training: 0.8 C.
    pub const fn base_to_new() -> Self {
        Self::Fraction {
            fraction: 0.8,
            all_below: 30,
            at_most: 100,
        }
    }

    /// The number of names shown out of `classes`; at least one when there is a class, except for
    /// [`ChoiceRule::Open`].
    ///
    /// ```
    /// use visrl_data::ChoiceRule;
    ///
    /// let rule = ChoiceRule::few_shot();
    /// assert_eq!(rule.size(196), 78); // StanfordCars
    /// assert_eq!(rule.size(47), 47); // DTD: 18 would be too few
    /// assert_eq!(rule.size(1000), 100); // ImageNet
    /// ```
    pub fn size(&self, classes: usize) -> usize {
        match *self {
            Self::Open => 0,
            Self::All => classes,
            Self::Fraction {
                fraction,
                all_below,
                at_most,
            } => {
                // `as` truncates towards zero and maps NaN to 0, as is wanted here.
                let n = (fraction * classes as f64) as usize;
                let n = if n < all_below { classes } else { n };
                n.min(at_most).max(1).min(classes)
            }
        }
    }
}

impl Default for ChoiceRule {
    fn default() -> Self {
        Self::few_shot()
    }
}

/// Draws lists of choices by a [`ChoiceRule`].
///
/// A list is a pure function of the seed, the class names, the label and two counters: it is the
/// same after a resume, on any thread and whatever else was drawn before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChoiceList {
    rule: ChoiceRule,
    stream: SeedStream,
}

impl ChoiceList {
    /// Lists of a run.
    pub fn new(rule: ChoiceRule, seed: u64) -> Self {
        Self {
            rule,
            stream: SeedStream::new(seed, Domain::Data).derive(CHOICES),
        }
    }

    /// The rule.
    pub fn rule(&self) -> ChoiceRule {
        self.rule
    }

    /// The names to choose from for one example, in the order shown.
    ///
    /// `round` is the epoch (or the step) and `index` the example's place in its split; the paper
    /// draws once per example, which is one round for all epochs (see
    /// [`ListSchedule`](crate::ListSchedule)). By the paper's rule: shuffle the names, take the
    /// first n, replace the last of them by the label if it is missing, shuffle again. A name that
    /// belongs to two classes (ImageNet has two of them) is shown once.
    pub fn draw(&self, classes: &[String], label: &str, round: u64, index: u64) -> Vec<String> {
        if self.rule == ChoiceRule::Open {
            return Vec::new();
        }
        let mut seen = HashSet::with_capacity(classes.len());
        let names: Vec<&str> = classes
            .iter()
            .map(String::as_str)
            .filter(|name| seen.insert(*name))
            .collect();
        let size = self.rule.size(names.len());
        let mut rng = self.stream.derive(round).derive(index).rng();
        let names = arrange(names, label, size, |names| rng.shuffle(names));
        names.into_iter().map(String::from).collect()
    }
}

/// The paper's rule for a list, whatever shuffles.
fn arrange<'a>(
    mut names: Vec<&'a str>,
    label: &'a str,
    size: usize,
    mut shuffle: impl FnMut(&mut Vec<&'a str>),
) -> Vec<&'a str> {
    shuffle(&mut names);
    names.truncate(size);
    if !names.contains(&label) {
        names.pop();
        names.push(label);
    }
    shuffle(&mut names);
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    #[test]
    fn sizes_are_the_papers() {
        let sets = [1000, 100, 37, 196, 102, 101, 100, 397, 47, 10, 101];
        let few_shot = sets.map(|classes| ChoiceRule::few_shot().size(classes));
        assert_eq!(few_shot, [100, 40, 37, 78, 40, 40, 40, 100, 47, 10, 40]);
        let base = [500, 50, 19, 98, 51, 51, 50, 199, 24, 5, 51];
        let base_to_new = base.map(|classes| ChoiceRule::base_to_new().size(classes));
        assert_eq!(base_to_new, [100, 40, 19, 78, 40, 40, 40, 100, 24, 5, 40]);
        assert_eq!(ChoiceRule::default(), ChoiceRule::few_shot());
    }

    #[test]
    fn the_rule_is_a_piece_of_configuration() {
        let text = serde_json::to_string(&ChoiceRule::base_to_new()).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"fraction","fraction":0.8,"all_below":30,"at_most":100}"#
        );
        assert_eq!(
            serde_json::from_str::<ChoiceRule>(&text).unwrap(),
            ChoiceRule::base_to_new()
        );
        let open: ChoiceRule = serde_json::from_str(r#"{"kind":"open"}"#).unwrap();
        assert_eq!(open, ChoiceRule::Open);
    }

    #[test]
    fn a_draw_depends_on_each_of_its_counters_and_on_nothing_else() {
        let classes = names(196);
        let list = ChoiceList::new(ChoiceRule::few_shot(), 100);
        let first = list.draw(&classes, "class 3", 2, 5);
        let _ = list.draw(&classes, "class 9", 0, 0);
        assert_eq!(
            first,
            ChoiceList::new(list.rule(), 100).draw(&classes, "class 3", 2, 5)
        );
        assert_ne!(first, list.draw(&classes, "class 3", 3, 5));
        assert_ne!(first, list.draw(&classes, "class 3", 2, 6));
        assert_ne!(first, list.draw(&classes, "class 3", 5, 2));
        assert_ne!(
            first,
            ChoiceList::new(list.rule(), 101).draw(&classes, "class 3", 2, 5)
        );
    }

    #[test]
    fn every_name_and_every_place_of_the_label_comes_up() {
        let classes = names(100);
        let list = ChoiceList::new(ChoiceRule::few_shot(), 1);
        let mut places = vec![0; 40];
        let mut shown = HashSet::new();
        for index in 0..4000 {
            let drawn = list.draw(&classes, "class 42", 0, index);
            places[drawn.iter().position(|name| name == "class 42").unwrap()] += 1;
            shown.extend(drawn);
        }
        assert_eq!(shown.len(), 100);
        // 100 expected at each place, standard deviation 10.
        assert!(places.iter().all(|&n| (50..150).contains(&n)), "{places:?}");
    }

    /// What the notebook's function does with these shuffles, by hand: the first reverses, the
    /// second moves the first name to the end.
    #[test]
    fn the_papers_rule_with_fixed_shuffles() {
        let draw = |label| {
            let mut times = 0;
            let names = vec!["a", "b", "c", "d", "e"];
            let list = arrange(names, label, 3, |names| {
                times += 1;
                match times {
                    1 => names.reverse(),
                    _ => names.rotate_left(1),
                }
            });
            assert_eq!(times, 2);
            list
        };
        assert_eq!(draw("d"), ["d", "c", "e"]);
        assert_eq!(draw("a"), ["d", "a", "e"]);
    }

    #[test]
    fn a_name_of_two_classes_is_shown_once() {
        let classes: Vec<String> = ["missile", "tench", "missile"].map(String::from).to_vec();
        let mut drawn = ChoiceList::new(ChoiceRule::All, 1).draw(&classes, "missile", 0, 0);
        drawn.sort();
        assert_eq!(drawn, ["missile", "tench"]);
    }

    #[test]
    fn an_open_question_has_no_list() {
        assert!(
            ChoiceList::new(ChoiceRule::Open, 1)
                .draw(&names(5), "class 1", 0, 0)
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn a_list_has_the_rules_size_no_repeats_and_the_label(
            n in 1usize..300, at in any::<prop::sample::Index>(), seed: u64, round: u64,
            fraction in 0.0f64..=1.0, all_below in 0usize..50, at_most in 0usize..150,
        ) {
            let classes = names(n);
            let label = &classes[at.index(n)];
            let rule = ChoiceRule::Fraction { fraction, all_below, at_most };
            let drawn = ChoiceList::new(rule, seed).draw(&classes, label, round, 0);
            prop_assert_eq!(drawn.len(), rule.size(n));
            prop_assert!(drawn.contains(label));
            let unique: HashSet<_> = drawn.iter().collect();
            prop_assert_eq!(unique.len(), drawn.len());
            prop_assert!(drawn.iter().all(|name| classes.contains(name)));
        }
    }
}
