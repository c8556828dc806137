//! What the sources read from lists that come from elsewhere, within limits: lines, texts of
//! rows, and paths that stay below the folder of the data set.

pub(crate) mod limits;
pub(crate) mod lines;
pub(crate) mod paths;
