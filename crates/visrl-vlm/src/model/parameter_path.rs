//! Between the paths of burn modules and Hugging Face's parameter names.

/// Follows a visitor or mapper through a module and knows the name of the parameter it is at.
///
/// A module's fields are named as in Hugging Face's, so a name is the path joined by dots, but
/// that norms call their parameters `gamma` and `beta` here and `weight` and `bias` there, that the
/// factors of adapters have PEFT's names, and that linear weights are stored here as `[in, out]`
/// and there as `[out, in]`. The variant of an enum is no part of a name.
#[derive(Clone, Debug, Default)]
pub struct ParameterPath {
    path: Vec<String>,
    containers: Vec<String>,
}

impl ParameterPath {
    /// Call from `enter_module`.
    pub fn enter(&mut self, name: &str, container: &str) {
        self.path.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    /// Call from `exit_module`.
    pub fn exit(&mut self) {
        self.path.pop();
        self.containers.pop();
    }

    /// The Hugging Face name of the parameter at this place.
    pub fn name(&self) -> String {
        let levels = self.path.iter().zip(&self.containers);
        let mut parts: Vec<&str> = levels
            .filter(|(_, container)| !container.starts_with("Enum:"))
            .map(|(name, _)| name.as_str())
            .collect();
        if self
            .containers
            .iter()
            .rev()
            .any(|container| container.ends_with("Norm"))
            && let Some(last) = parts.last_mut()
        {
            *last = match *last {
                "gamma" => "weight",
                "beta" => "bias",
                other => other,
            };
        }
        if self.is_linear()
            && let Some(last) = parts.last_mut()
        {
            *last = match *last {
                "lora_a" => "lora_A.weight",
                "lora_b" => "lora_B.weight",
                "lora_magnitude" => "lora_magnitude_vector",
                other => other,
            };
        }
        parts.join(".")
    }

    /// Whether the parameter at this place is a matrix of a linear layer or of its adapter, stored
    /// transposed.
    pub fn is_linear_weight(&self) -> bool {
        let names = ["weight", "lora_a", "lora_b"];
        self.is_linear()
            && self
                .path
                .last()
                .is_some_and(|last| names.contains(&last.as_str()))
    }

    fn is_linear(&self) -> bool {
        let names = ["Struct:LoraLinear", "Struct:Linear"];
        self.containers
            .iter()
            .any(|container| names.contains(&container.as_str()))
    }
}
