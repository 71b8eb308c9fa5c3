//! Units: what they say they make, and what is refused.

use crate::{KeptWeight, PackError, Unit, WeightFormat};

#[test]
fn the_unit_of_a_format_makes_it_and_is_here() {
    for format in WeightFormat::ALL {
        let unit = Unit::of(format);
        assert!(unit.makes(format) && unit.is_here(), "{unit} for {format}");
    }
    assert!(!Unit::Avx2.makes(WeightFormat::Int8), "its products of bytes saturate");
    assert!(!Unit::Portable.is_fast(WeightFormat::Bf16) && !Unit::Avx512Bf16.is_fast(WeightFormat::Bf16x3));
}

#[test]
fn formats_have_names() {
    for format in WeightFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("fp8".parse::<WeightFormat>().unwrap_err().contains("fp8"));
}

#[test]
fn what_cannot_be_packed_is_refused() {
    let pack = |format, shape, weight: &[f32], bias: &[f32]| {
        KeptWeight::on(Unit::Portable, format, shape, weight, bias).map(drop)
    };
    let size = PackError::Size { rows: 2, columns: 3, numbers: 5 };
    assert_eq!(pack(WeightFormat::Bf16, [2, 3], &[0.0; 5], &[]), Err(size));
    assert!(matches!(pack(WeightFormat::Bf16, [0, 3], &[], &[]), Err(PackError::Size { .. })));
    let wide = PackError::Width { what: "a bias", given: 2, wanted: 3 };
    assert_eq!(pack(WeightFormat::Bf16, [2, 3], &[0.0; 6], &[0.0; 2]), Err(wide));
    let odd = [0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0];
    assert_eq!(pack(WeightFormat::Int8, [2, 3], &odd, &[]), Err(PackError::NotFinite { column: 1 }));
    assert_eq!(pack(WeightFormat::Bf16, [2, 3], &odd, &[]), Ok(()));
    let deep = vec![0.0; 131_073];
    assert!(matches!(pack(WeightFormat::Int8, [131_073, 1], &deep, &[]), Err(PackError::TooDeep { .. })));
    let lacking = KeptWeight::on(Unit::Avx2, WeightFormat::Int8, [1, 1], &[0.0], &[]);
    assert!(matches!(lacking, Err(PackError::Unit { .. })), "{lacking:?}");
}
