//! One function compiled for each width of vectors, and the choice among them.

/// Writes a function four times over: for AVX-512 with and without bf16, for AVX2, and plainly; the width that its first argument
/// says runs. Its body knows the width as a type, one of [`Lanes`](crate::lanes::Lanes).
macro_rules! by_vectors {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$lanes:ident>($($arg:ident: $kind:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $vis fn $name(vectors: $crate::unit::VectorWidth, $($arg: $kind),*) {
            #[inline(always)]
            fn body<$lanes: $crate::lanes::Lanes>($($arg: $kind),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma")]
            fn avx512_bf16($($arg: $kind),*) {
                body::<$crate::lanes::WideLanes>($($arg),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
            fn avx512($($arg: $kind),*) {
                body::<$crate::lanes::PlainLanes>($($arg),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $kind),*) {
                body::<$crate::lanes::PlainLanes>($($arg),*);
            }
            match vectors {
                // SAFETY: the features were looked for.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "instructions that were looked for")]
                $crate::unit::VectorWidth::Avx512Bf16 => unsafe { avx512_bf16($($arg),*) },
                // SAFETY: the features were looked for.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "instructions that were looked for")]
                $crate::unit::VectorWidth::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: the features were looked for.
                #[cfg(target_arch = "x86_64")]
                #[expect(unsafe_code, reason = "instructions that were looked for")]
                $crate::unit::VectorWidth::Avx2 => unsafe { avx2($($arg),*) },
                $crate::unit::VectorWidth::Plain => body::<$crate::lanes::PlainLanes>($($arg),*),
            }
        }
    };
}

pub(crate) use by_vectors;
