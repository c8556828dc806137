//! What the sources read from lists that come from elsewhere, within limits: lines, texts of
//! rows, paths that stay below the folder of the data set, and what is told of them.

pub(crate) mod limits;
pub(crate) mod lines;
pub(crate) mod paths;
pub(crate) mod told;
