//! A reward rule of one's own.

use visrl::core::Example;
use visrl::reward::RewardRule;

/// The share of the label's letters that the completion has, whatever their place: a new model is
/// paid for its first letters before it can spell.
pub struct SharedLetters;

impl RewardRule for SharedLetters {
    fn name(&self) -> &str {
        "shared_letters"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let count = example.label.chars().count();
        let found = example.label.chars().filter(|c| completion.contains(*c));
        (count > 0).then(|| found.count() as f32 / count as f32)
    }
}
