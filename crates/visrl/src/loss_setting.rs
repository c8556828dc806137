use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use visrl_grpo::GrpoLoss;

/// The policy loss of a run: visrl's own as a table of its settings, one of the user's by its name.
///
/// ```
/// use visrl::{LossSetting, RunConfig};
///
/// let text = r#"
///     recipe = "no_thinking_rl"
///     model.path = "assets/base"
///     data.source = { kind = "drawn_shapes" }
///     fine_tune.loss = "my_loss"
/// "#;
/// let run = RunConfig::from_toml(text)?;
/// assert_eq!(run.fine_tune.loss, LossSetting::Custom("my_loss".into()));
/// # Ok::<(), visrl::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum LossSetting {
    /// GRPO's loss and its relatives.
    Grpo(GrpoLoss),
    /// A loss of one's own, which is given to the [`Trainer`](crate::Trainer) or registered in a
    /// [`Registry`](crate::Registry) under this name.
    Custom(String),
}

impl Default for LossSetting {
    fn default() -> Self {
        Self::Grpo(GrpoLoss::default())
    }
}

impl From<GrpoLoss> for LossSetting {
    fn from(loss: GrpoLoss) -> Self {
        Self::Grpo(loss)
    }
}

impl Serialize for LossSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Grpo(loss) => loss.serialize(serializer),
            Self::Custom(name) => name.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LossSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = LossSetting;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table of settings or the name of a registered loss")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<LossSetting, E> {
                Ok(LossSetting::Custom(name.to_owned()))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<LossSetting, A::Error> {
                GrpoLoss::deserialize(MapAccessDeserializer::new(map)).map(LossSetting::Grpo)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
