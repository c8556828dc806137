//! What can go wrong.

/// What can go wrong while sampling.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model refuses its input.
    #[error(transparent)]
    Model(#[from] visrl_vlm::Error),
    /// A sampling parameter cannot be used.
    #[error("sampling parameter `{field}`: {message}")]
    Params {
        /// The parameter.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A request cannot be met.
    #[error("prompt {id}: {message}")]
    Request {
        /// The prompt's id.
        id: String,
        /// What is wrong.
        message: String,
    },
    /// The model's logits are not numbers.
    #[error(
        "prompt {id}: logits hold NaN or infinity at new token {position}{}; the weights are damaged or training diverged",
        origin(*.layer, .parameter.as_deref())
    )]
    NotFinite {
        /// The prompt's id.
        id: String,
        /// The position among the new tokens, from 0.
        position: usize,
        /// The first decoder layer whose keys or values are not finite: what comes before it, or
        /// its own projections, are at fault.
        layer: Option<usize>,
        /// The first parameter that is not finite.
        parameter: Option<String>,
    },
    /// A server cannot be reached, or does not do what it is asked for.
    #[error("server {url}: {message}")]
    Server {
        /// Its address.
        url: String,
        /// What is wrong.
        message: String,
    },
    /// The device failed to return a result.
    #[error("reading from the device: {0}")]
    Device(String),
}

/// Where numbers went wrong, as far as it is known.
fn origin(layer: Option<usize>, parameter: Option<&str>) -> String {
    let layer = layer.map(|layer| format!("; first seen in the keys and values of layer {layer}"));
    let parameter = parameter.map(|name| format!("; parameter `{name}` is not finite"));
    [layer, parameter].into_iter().flatten().collect()
}
