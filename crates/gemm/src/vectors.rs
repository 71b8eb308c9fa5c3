//! One function compiled for each width of vectors, and the choice among them.

/// Writes a function three times over: for AVX-512, for AVX2, and plainly; calls go to the widest that this machine has.
macro_rules! by_vectors {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $kind),*) {
            #[inline(always)]
            fn body($($arg: $kind),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
            fn avx512($($arg: $kind),*) {
                body($($arg),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $kind),*) {
                body($($arg),*);
            }
            match $crate::unit::vectors() {
                // SAFETY: the features were looked for.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "instructions that were looked for")]
                $crate::unit::VectorWidth::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: the features were looked for.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "instructions that were looked for")]
                $crate::unit::VectorWidth::Avx2 => unsafe { avx2($($arg),*) },
                $crate::unit::VectorWidth::Plain => body($($arg),*),
            }
        }
    };
}

pub(crate) use by_vectors;
