//! What a request asks for where its texts are read in windows.

use sortie_engine::{Truncation, WindowScore};
use sortie_frontend::ServeError;
use sortie_proto::v1;

use super::validate::{TextRules, enum_value};

/// [`v1::Windows`], checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowRule {
    /// Tokens that neighbours share.
    pub(crate) stride: usize,
    /// What becomes of the windows' scores; `None` where the request did not say.
    pub(crate) score: Option<WindowScore>,
}

/// Checks the windows asked for beside the other rules for texts.
pub(crate) fn window_rule(windows: Option<v1::Windows>, rules: &TextRules) -> Result<Option<WindowRule>, ServeError> {
    let Some(windows) = windows else { return Ok(None) };
    if rules.fit.truncation != Truncation::DocumentOnly {
        let message = "nothing is cut where texts are read in windows; leave it out";
        return Err(ServeError::bad_field("options.truncation", message));
    }
    let score = match enum_value("windows.score", windows.score)? {
        v1::WindowScore::Unspecified => None,
        v1::WindowScore::Max => Some(WindowScore::Max),
        v1::WindowScore::First => Some(WindowScore::First),
        v1::WindowScore::Mean => Some(WindowScore::Mean),
    };
    Ok(Some(WindowRule { stride: windows.stride as usize, score }))
}

#[cfg(test)]
mod tests {
    use sortie_engine::EncodeOptions;

    use super::*;

    fn rules(fit: EncodeOptions) -> TextRules {
        TextRules { fit, prompt: None }
    }

    #[test]
    fn windows_exclude_what_would_cut() {
        let asked = Some(v1::Windows { stride: 2, score: 0 });
        let cut = EncodeOptions { truncation: Truncation::LongestFirst, ..EncodeOptions::default() };
        for truncation in [Truncation::LongestFirst, Truncation::Error] {
            let fit = EncodeOptions { truncation, ..EncodeOptions::default() };
            assert!(window_rule(asked, &rules(fit)).unwrap_err().to_string().contains("options.truncation"));
        }
        let rule = window_rule(asked, &rules(EncodeOptions::default())).unwrap().unwrap();
        assert_eq!((rule.stride, rule.score), (2, None));
        assert!(window_rule(None, &rules(cut)).unwrap().is_none());
    }
}
