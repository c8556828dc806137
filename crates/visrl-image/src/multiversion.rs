//! Functions compiled twice: for any processor, and for those with wider vectors.

/// Defines functions whose bodies are compiled for AVX2, too; that version runs where the processor
/// has it. The bodies are plain loops that the compiler turns into vector code, so both versions
/// give the same results.
macro_rules! multiversion {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<const $n:ident: usize>)? (
            $($argument:ident: $type:ty),* $(,)?
        ) $body:block
    )*) => {$(
        $(#[$attribute])*
        $visibility fn $name $(<const $n: usize>)? ($($argument: $type),*) {
            #[inline(always)]
            fn plain $(<const $n: usize>)? ($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2 $(<const $n: usize>)? ($($argument: $type),*) {
                    plain $(::<$n>)? ($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2, as was just asked.
                    #[allow(unsafe_code)]
                    return unsafe { avx2 $(::<$n>)? ($($argument),*) };
                }
            }
            plain $(::<$n>)? ($($argument),*)
        }
    )*};
}

pub(super) use multiversion;
