//! How a section of settings is written down: each setting once, with its reason, and from it a
//! constant, a field, its default and its check.

/// Makes a section: `NAME field: Type = default, check, "what is wrong otherwise";`.
macro_rules! settings {
    (
        $(#[$section_doc:meta])*
        $section:ident in $path:literal {
            $($(#[$doc:meta])* $name:ident $field:ident: $type:ty = $default:expr, $check:expr, $problem:literal;)+
        }
    ) => {
        $($(#[$doc])* pub const $name: $type = $default;)+

        $(#[$section_doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct $section { $($(#[$doc])* pub $field: $type,)+ }

        impl Default for $section {
            fn default() -> Self {
                Self { $($field: $name,)+ }
            }
        }

        impl $section {
            /// Every setting by its name.
            #[cfg(test)]
            pub(super) const NAMES: &'static [&'static str] = &[$(concat!($path, ".", stringify!($field)),)+];

            pub(super) fn validate(&self) -> Result<(), $crate::config::DispatchConfigError> {
                $({
                    let check: fn(&$type) -> bool = $check;
                    let field = concat!($path, ".", stringify!($field));
                    $crate::config::DispatchConfigError::check(check(&self.$field), field, $problem)?;
                })+
                Ok(())
            }
        }
    };
}

/// Finite and above zero.
pub(super) fn positive(x: &f64) -> bool {
    x.is_finite() && *x > 0.0
}

/// From 0 to 1, both included.
pub(super) fn share(x: &f64) -> bool {
    (0.0..=1.0).contains(x)
}

/// Above 0, at most 1.
pub(super) fn proper_share(x: &f64) -> bool {
    positive(x) && *x <= 1.0
}

/// Finite and above 1.
pub(super) fn above_one(x: &f64) -> bool {
    x.is_finite() && *x > 1.0
}

/// Longer than nothing.
pub(super) fn lasting(x: &std::time::Duration) -> bool {
    !x.is_zero()
}
