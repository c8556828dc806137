use burn::tensor::{DType, Tensor};

/// The cast in one form; the vectors as they were where it does not take them.
type Form = fn(Vec<Tensor<1>>, DType) -> Result<Vec<Tensor<1>>, Vec<Tensor<1>>>;

const FORMS: &[Form] = &[
    #[cfg(feature = "tch")]
    super::tch::cast_all,
];

/// Untracked vectors in a number format; those that have it stay as they are.
pub fn cast_all(mut vectors: Vec<Tensor<1>>, dtype: DType) -> Vec<Tensor<1>> {
    for form in FORMS {
        match form(vectors, dtype) {
            Ok(cast) => return cast,
            Err(back) => vectors = back,
        }
    }
    let cast = |of: Tensor<1>| match of.dtype() == dtype {
        true => of,
        false => of.cast(dtype),
    };
    vectors.into_iter().map(cast).collect()
}
