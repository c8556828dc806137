//! Which vectors the kernels use.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// The environment variable that keeps the kernels from the widest vectors.
const VARIABLE: &str = "VISRL_SIMD";

/// The vectors in use: the widest that the processor has, unless the environment variable
/// `VISRL_SIMD` is `avx2` or `scalar` when they are first asked for.
///
/// The variable is for tests and benches, which thereby run on one machine what others run. It binds
/// the kernels and their products, not what burn computes in operations of its own.
pub(crate) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| chosen(std::env::var(VARIABLE).ok().as_deref()))
}

fn chosen(wanted: Option<&str>) -> Arch {
    match wanted {
        None | Some("") => Arch::new(),
        Some("scalar") => Arch::Scalar,
        #[cfg(target_arch = "x86_64")]
        Some("avx2") => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        Some(other) => {
            tracing::warn!("{VARIABLE} is {other:?}, which this processor's kernels do not know");
            Arch::new()
        }
    }
}

/// Whether the vectors in use are those of AVX2 on a processor with wider ones.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_narrowed() -> bool {
    matches!(arch(), Arch::V3(_)) && matches!(Arch::new(), Arch::V4(_))
}

/// Runs a loop compiled for the vectors in use.
///
/// The loop is called as `FnMut`: a call as `FnOnce` goes through a function that compilers may keep
/// apart, compiled for no vectors at all.
#[inline]
pub(crate) fn vectorized<R>(work: impl FnMut() -> R) -> R {
    arch().dispatch(Loop(work))
}

struct Loop<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Loop<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_narrows_and_nothing_else() {
        let name = |arch: Arch| format!("{arch:?}");
        assert_eq!(name(chosen(None)), name(Arch::new()));
        assert_eq!(name(chosen(Some(""))), name(Arch::new()));
        assert_eq!(name(chosen(Some("avx1024"))), name(Arch::new()));
        assert_eq!(name(chosen(Some("scalar"))), name(Arch::Scalar));
        #[cfg(target_arch = "x86_64")]
        assert!(!name(chosen(Some("avx2"))).contains("V4"));
    }
}
