//! Colours weighted by their alpha, so that hidden ones do not bleed.

/// A product of two bytes, or a sum of such, divided by 255 and rounded.
pub(crate) fn div_255(product: u32) -> u8 {
    let product = product + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// Runs `resize` on colours weighted by the last channel and takes the weights out again.
pub(crate) fn with_premultiplied<const C: usize>(
    data: &[u8],
    resize: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut weighted = data.to_vec();
    for pixel in weighted.as_chunks_mut::<C>().0 {
        let alpha = pixel[C - 1];
        for color in &mut pixel[..C - 1] {
            *color = div_255(u32::from(*color) * u32::from(alpha));
        }
    }
    let mut out = resize(&weighted);
    for pixel in out.as_chunks_mut::<C>().0 {
        let alpha = pixel[C - 1];
        if alpha != 0 && alpha != 255 {
            for color in &mut pixel[..C - 1] {
                *color = (255 * u32::from(*color) / u32::from(alpha)).min(255) as u8;
            }
        }
    }
    out
}
