use burn::tensor::Tensor;

/// The product in one form; the vectors as they were where it does not take them.
type Form = fn(Vec<Tensor<1>>, f64) -> Result<Vec<Tensor<1>>, Vec<Tensor<1>>>;

const FORMS: &[Form] = &[
    #[cfg(feature = "tch")]
    super::tch::scale_all,
];

/// Untracked vectors times a factor, in place where nobody else holds them.
pub fn scale_all(mut vectors: Vec<Tensor<1>>, factor: f64) -> Vec<Tensor<1>> {
    for form in FORMS {
        match form(vectors, factor) {
            Ok(scaled) => return scaled,
            Err(back) => vectors = back,
        }
    }
    vectors.into_iter().map(|of| of * factor).collect()
}
