use crate::split::Split;

/// The first four bytes of a file of labels: unsigned bytes, one dimension.
pub(crate) const LABELS_MAGIC: u32 = 0x0000_0801;
/// The first four bytes of a file of images: unsigned bytes, three dimensions.
pub(crate) const IMAGES_MAGIC: u32 = 0x0000_0803;

/// The names of a split's files of images and of labels, without `.gz`.
pub(crate) fn file_names(split: Split) -> Option<[&'static str; 2]> {
    match split {
        Split::Train => Some(["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]),
        Split::Test => Some(["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]),
        Split::Val => None,
    }
}
