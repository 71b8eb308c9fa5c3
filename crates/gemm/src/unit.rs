//! What of this processor makes products.
//!
//! | unit | formats | where |
//! | --- | --- | --- |
//! | AMX | bf16, bf16x3, int8 | Intel from Sapphire Rapids on, Linux from 5.16 on |
//! | AVX512-BF16 | bf16, bf16x3 | AMD from Zen 4 on; on Intel it is slower than f32 and is not used |
//! | AVX512-VNNI, AVX-VNNI | int8 | Intel from Ice Lake on, AMD from Zen 4 on |
//! | AVX-512 | f32 | Intel's servers from Skylake on, AMD from Zen 4 on |
//! | AVX2 | f32, bf16, bf16x3 | nearly every x86: bf16 is no faster than f32 |
//! | portable | all | everywhere: slow, for tests |
//!
//! int8 has no unit of AVX2's: its only product of bytes saturates at 16 bits, and gives wrong sums.

use std::{fmt, sync::OnceLock};

use crate::format::WeightFormat;

/// A way to make products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Intel's tiles.
    Amx,
    /// Pairs of bf16 in vectors of 512 bits.
    Avx512Bf16,
    /// Quads of bytes in vectors of 512 bits.
    Avx512Vnni,
    /// Quads of bytes in vectors of 256 bits.
    AvxVnni,
    /// f32 in vectors of 512 bits.
    Avx512,
    /// f32, and bf16 widened to it, in vectors of 256 bits.
    Avx2,
    /// Plain Rust.
    Portable,
}

impl Unit {
    /// All of them, the fastest first.
    pub const ALL: [Self; 7] =
        [Self::Amx, Self::Avx512Bf16, Self::Avx512Vnni, Self::AvxVnni, Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether it has products in `format`.
    #[must_use]
    pub fn makes(self, format: WeightFormat) -> bool {
        match self {
            Self::Amx => format != WeightFormat::F32,
            Self::Avx512Bf16 => matches!(format, WeightFormat::Bf16 | WeightFormat::Bf16x3),
            Self::Avx512 => format == WeightFormat::F32,
            Self::Avx2 => format != WeightFormat::Int8,
            Self::Portable => true,
            Self::Avx512Vnni | Self::AvxVnni => format == WeightFormat::Int8,
        }
    }

    /// Whether this machine has it. The first call asks the operating system for AMX.
    #[must_use]
    pub fn is_here(self) -> bool {
        self == Self::Portable || processor().units.contains(&self)
    }

    /// The unit that makes products in `format` here.
    #[must_use]
    pub fn of(format: WeightFormat) -> Self {
        let fits = |unit: &Self| unit.makes(format) && unit.is_here();
        Self::ALL.into_iter().find(fits).unwrap_or(Self::Portable)
    }

    /// Whether its products in `format` are faster than ONNX Runtime's in f32.
    #[must_use]
    pub fn is_fast(self, format: WeightFormat) -> bool {
        match self {
            Self::Amx | Self::Avx512Vnni | Self::AvxVnni | Self::Avx512 => true,
            // Three products at twice the speed of f32.
            Self::Avx512Bf16 => format == WeightFormat::Bf16,
            Self::Avx2 | Self::Portable => false,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "AMX",
            Self::Avx512Bf16 => "AVX512-BF16",
            Self::Avx512Vnni => "AVX512-VNNI",
            Self::AvxVnni => "AVX-VNNI",
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Vectors that steps beside products are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VectorWidth {
    /// With bf16 among their formats.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

/// The widest this machine has, for steps beside products of `unit`. bf16's rounding of vectors takes denormals for zeros, and so
/// goes with units that do.
pub(crate) fn vectors(unit: Unit) -> VectorWidth {
    match processor().vectors {
        #[cfg(target_arch = "x86_64")]
        VectorWidth::Avx512Bf16 if !matches!(unit, Unit::Amx | Unit::Avx512Bf16) => VectorWidth::Avx512,
        vectors => vectors,
    }
}

#[derive(Debug)]
struct Processor {
    units: Vec<Unit>,
    vectors: VectorWidth,
}

fn processor() -> &'static Processor {
    static HERE: OnceLock<Processor> = OnceLock::new();
    HERE.get_or_init(look)
}

#[cfg(not(target_arch = "x86_64"))]
fn look() -> Processor {
    Processor { units: Vec::new(), vectors: VectorWidth::Plain }
}

#[cfg(target_arch = "x86_64")]
fn look() -> Processor {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma");
    let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq");
    let mut units = Vec::new();
    let mut add = |here: bool, unit| {
        if here {
            units.push(unit);
        }
    };
    add(avx2 && amx::is_here(), Unit::Amx);
    add(avx512 && has!("avx512bf16") && is_amd(), Unit::Avx512Bf16);
    add(avx512 && has!("avx512vnni"), Unit::Avx512Vnni);
    add(avx2 && has!("avxvnni"), Unit::AvxVnni);
    add(avx512, Unit::Avx512);
    add(avx2, Unit::Avx2);
    let vectors = match (avx512, avx2) {
        (true, _) if has!("avx512bf16") => VectorWidth::Avx512Bf16,
        (true, _) => VectorWidth::Avx512,
        (false, true) => VectorWidth::Avx2,
        (false, false) => VectorWidth::Plain,
    };
    Processor { units, vectors }
}

/// AMD's processors do AVX512-BF16 at twice the speed of f32; Intel's at half of it.
#[cfg(target_arch = "x86_64")]
fn is_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx] == [*b"Auth", *b"enti", *b"cAMD"].map(u32::from_le_bytes)
}

#[cfg(target_arch = "x86_64")]
mod amx {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// Leaf 7, edx: products in bf16, tiles, products in int8.
    const FEATURES: u32 = 1 << 22 | 1 << 24 | 1 << 25;

    /// Whether the processor has tiles in both formats, and the operating system lets this process use them.
    pub(super) fn is_here() -> bool {
        __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & FEATURES == FEATURES && saved() && permitted()
    }

    /// Whether the operating system saves tiles when threads take turns.
    #[expect(unsafe_code, reason = "the instruction needs its feature, which is checked")]
    fn saved() -> bool {
        /// Leaf 1, ecx: the operating system has switched XSAVE on.
        const OSXSAVE: u32 = 1 << 27;
        /// Configuration and data of tiles.
        const TILES: u64 = 1 << 17 | 1 << 18;
        #[target_feature(enable = "xsave")]
        fn enabled() -> u64 {
            // SAFETY: register 0 is there wherever XSAVE is on.
            unsafe { std::arch::x86_64::_xgetbv(0) }
        }
        // SAFETY: XSAVE is on.
        __cpuid(1).ecx & OSXSAVE != 0 && unsafe { enabled() } & TILES == TILES
    }

    /// Asks Linux for the right to use tiles. It holds for every thread of the process, those before and those to come.
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "a system call")]
    pub(super) fn permitted() -> bool {
        const ARCH_PRCTL: u64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let mut answer = ARCH_PRCTL;
        // SAFETY: the call reads two numbers and touches no memory of ours; the kernel overwrites rcx and r11.
        unsafe {
            std::arch::asm!(
                "syscall",
                inout("rax") answer,
                in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") TILE_DATA,
                out("rcx") _,
                out("r11") _,
                options(nostack),
            );
        }
        answer == 0
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn permitted() -> bool {
        false
    }
}
