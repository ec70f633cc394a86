//! What the path of a request to Gemini says: the model and what is asked of it.

/// A model and what is asked of it, as in `/v1beta/models/MODEL:METHOD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeminiPath<'a> {
    /// The model.
    pub model: &'a str,
    /// `generateContent`, `streamGenerateContent`, ….
    pub method: &'a str,
}

impl GeminiPath<'_> {
    /// Whether the answer is a stream.
    pub fn is_stream(&self) -> bool {
        self.method == "streamGenerateContent"
    }
}

/// Reads such a path, which may carry a query; `None` for every other one.
pub fn path_model(path: &str) -> Option<GeminiPath<'_>> {
    let path = path.split('?').next().unwrap_or_default();
    let below =
        ["/v1beta/", "/v1/", "/v1alpha/"].iter().find_map(|stem| path.strip_prefix(stem))?;
    let named = ["models/", "tunedModels/"].iter().find_map(|stem| below.strip_prefix(stem))?;
    let (model, method) = named.split_once(':')?;
    let plain = !model.is_empty() && !model.contains('/') && !method.contains(['/', ':']);
    plain.then_some(GeminiPath { model, method })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_and_the_method_stand_in_the_path() {
        let read = |path| path_model(path).map(|asked| (asked.model, asked.method));
        let expected = Some(("gemini-2.5-pro", "streamGenerateContent"));
        assert_eq!(read("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"), expected);
        assert_eq!(read("/v1/models/m:generateContent"), Some(("m", "generateContent")));
        for path in ["/v1beta/models/m", "/v1beta/models/:x", "/v1beta/a/m:x", "/v1/models/a/b:c"] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
