use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{DType, Gradients as Graph, Tensor};
use visrl_kernels::{cast_all, scale_all, sum_of_squares};
use visrl_vlm::{visit_gradients, visit_handles};

use crate::error::Error;

/// Gradients by the names of parameters, flattened in the layout of the parameter; those of
/// parameters in a narrower format than f32 are summed and kept in f32.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    by_name: BTreeMap<String, Tensor<1>>,
}

/// A tensor in f32, or as it is where its numbers are at least that wide.
pub(crate) fn widened<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match tensor.dtype() {
        DType::F32 | DType::F64 => tensor,
        _ => tensor.cast(DType::F32),
    }
}

impl Gradients {
    /// Takes the gradients of a module's trained parameters out of a backward pass.
    pub fn take<M: Module>(mut graph: Graph, module: &M) -> Self {
        let (mut names, mut wide, mut narrow) = (Vec::new(), Vec::new(), Vec::new());
        let mut taken = Self::default();
        visit_gradients(module, &mut graph, |name, gradient| {
            match gradient.dtype() {
                DType::F32 | DType::F64 => wide.push((name, gradient)),
                _ => {
                    names.push(name);
                    narrow.push(gradient);
                }
            };
        });
        let narrow = names.into_iter().zip(cast_all(narrow, DType::F32));
        taken.by_name.extend(wide.into_iter().chain(narrow));
        taken
    }

    /// Gives every trained parameter of a module a gradient: zero where there was none.
    ///
    /// A parameter that a part of a batch does not touch (the vision tower, by a prompt without
    /// image) then takes the same step as one whose gradients cancelled.
    pub fn complete<M: Module>(&mut self, module: &M) {
        visit_handles(module, |parameter| {
            if parameter.trainable && !self.by_name.contains_key(&parameter.name) {
                let zeros = widened(parameter.values()).zeros_like();
                self.by_name.insert(parameter.name, zeros);
            }
        });
    }

    /// The gradient of a parameter, flattened.
    pub fn get(&self, name: &str) -> Option<&Tensor<1>> {
        self.by_name.get(name)
    }

    /// All gradients in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<1>)> {
        self.by_name
            .iter()
            .map(|(name, gradient)| (name.as_str(), gradient))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Adds a gradient to that of a parameter.
    pub fn add(&mut self, name: String, gradient: Tensor<1>) {
        let gradient = widened(gradient);
        let sum = match self.by_name.remove(&name) {
            Some(old) => old + gradient,
            None => gradient,
        };
        self.by_name.insert(name, sum);
    }

    /// Adds all gradients of another batch.
    pub fn add_all(&mut self, other: Self) {
        for (name, gradient) in other.by_name {
            self.add(name, gradient);
        }
    }

    /// The Euclidean norm of all gradients taken as one vector.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the number cannot be read.
    pub fn global_norm(&self) -> Result<f64, Error> {
        let gradients: Vec<_> = self.by_name.values().collect();
        Ok(sum_of_squares(&gradients)?.sqrt())
    }

    /// Scales all gradients so that their global norm is at most `max_norm`, as
    /// `torch.nn.utils.clip_grad_norm_`, and returns the norm before.
    ///
    /// # Errors
    /// [`Error::Kernel`] when the norm cannot be read.
    pub fn clip(&mut self, max_norm: f64) -> Result<f64, Error> {
        let norm = self.global_norm()?;
        let scale = max_norm / (norm + 1e-6);
        if scale < 1.0 {
            let (names, gradients): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.by_name).into_iter().unzip();
            self.by_name = names.into_iter().zip(scale_all(gradients, scale)).collect();
        }
        Ok(norm)
    }
}
