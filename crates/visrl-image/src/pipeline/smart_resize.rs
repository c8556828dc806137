//! The size to which Qwen2-VL's processor resizes an image.

use crate::error::Error;

/// The largest ratio of the sides that is accepted.
const MAX_RATIO: f64 = 200.0;

/// The (height, width) to which an image of this height and width is resized: multiples of
/// `factor`, close to the given ratio, with a product between `min_pixels` and `max_pixels` where
/// that is possible.
///
/// Halves round to even, as Python's `round` does: 42 and 70 become 56 for a factor of 28.
///
/// # Errors
/// [`Error::Input`] when a side or an argument is 0 or one side is more than 200 times the other.
///
/// ```
/// use visrl_image::smart_resize;
///
/// assert_eq!(smart_resize(384, 384, 28, 3136, 401_408)?, (392, 392));
/// assert!(smart_resize(1, 201, 28, 3136, 401_408).is_err());
/// # Ok::<(), visrl_image::Error>(())
/// ```
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
) -> Result<(usize, usize), Error> {
    check(height, width, factor, max_pixels)?;
    Ok(fit(height, width, factor, min_pixels, max_pixels, 0))
}

/// The variant of Qwen's image loader, which the paper's evaluation runs before its own resize: a
/// side is never rounded to 0.
pub(super) fn loader_resize(height: usize, width: usize) -> Result<(usize, usize), Error> {
    const FACTOR: usize = 28;
    const MIN_PIXELS: usize = 4 * FACTOR * FACTOR;
    const MAX_PIXELS: usize = 16_384 * FACTOR * FACTOR;
    check(height, width, FACTOR, MAX_PIXELS)?;
    Ok(fit(height, width, FACTOR, MIN_PIXELS, MAX_PIXELS, FACTOR))
}

fn check(height: usize, width: usize, factor: usize, max_pixels: usize) -> Result<(), Error> {
    if height == 0 || width == 0 || factor == 0 || max_pixels == 0 {
        return Err(Error::Input(format!(
            "cannot resize {width}x{height} to multiples of {factor} with at most {max_pixels} \
             pixels: all must be positive"
        )));
    }
    let ratio = height.max(width) as f64 / height.min(width) as f64;
    if ratio > MAX_RATIO {
        // Written as Python writes a float: 201 is 201.0.
        return Err(Error::Input(format!(
            "absolute aspect ratio must be smaller than 200, got {ratio:?}"
        )));
    }
    Ok(())
}

fn fit(
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
    least: usize,
) -> (usize, usize) {
    let (h, w, f) = (height as f64, width as f64, factor as f64);
    let nearest = |side: f64| ((side / f).round_ties_even() as usize * factor).max(least);
    let rounded = (nearest(h), nearest(w));
    let pixels = rounded.0.saturating_mul(rounded.1);
    if pixels > max_pixels {
        let beta = (h * w / max_pixels as f64).sqrt();
        let shrink = |side: f64| ((side / beta / f).floor() as usize * factor).max(factor);
        (shrink(h), shrink(w))
    } else if pixels < min_pixels {
        let beta = (min_pixels as f64 / (h * w)).sqrt();
        let grow = |side: f64| (side * beta / f).ceil() as usize * factor;
        (grow(h), grow(w))
    } else {
        rounded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_to_even() {
        assert_eq!(smart_resize(42, 70, 28, 1, 1 << 20).ok(), Some((56, 56)));
        assert_eq!(smart_resize(98, 126, 28, 1, 1 << 20).ok(), Some((112, 112)));
    }

    #[test]
    fn a_ratio_is_told_as_python_tells_a_float() {
        for (height, width, ratio) in [(1, 201, "201.0"), (301, 1, "301.0"), (2, 403, "201.5")] {
            let message = smart_resize(height, width, 28, 1, 9)
                .unwrap_err()
                .to_string();
            let expected = format!("absolute aspect ratio must be smaller than 200, got {ratio}");
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn nothing_is_resized_to_nothing() {
        for (height, width, factor, max) in [(0, 5, 28, 9), (5, 0, 28, 9), (5, 5, 0, 9)] {
            assert!(smart_resize(height, width, factor, 1, max).is_err());
        }
        assert_eq!(loader_resize(1000, 10).ok(), Some((1008, 28)));
    }
}
