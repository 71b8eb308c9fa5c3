//! How numbers of vectors are written.

use half::f16;
use sortie_proto::v1;

/// Number format of vectors on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VectorFormat {
    /// Four bytes a number, exact.
    #[default]
    F32,
    /// Two bytes a number, three decimal digits.
    F16,
}

impl VectorFormat {
    pub(crate) fn to_wire(self) -> v1::VectorFormat {
        match self {
            Self::F32 => v1::VectorFormat::F32,
            Self::F16 => v1::VectorFormat::F16,
        }
    }

    /// Adds a number to a block of them.
    pub(crate) fn write(self, number: f32, block: &mut Vec<u8>) {
        match self {
            Self::F32 => block.extend(number.to_le_bytes()),
            Self::F16 => block.extend(f16::from_f32(number).to_le_bytes()),
        }
    }
}
