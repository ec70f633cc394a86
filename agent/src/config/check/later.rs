//! Sections that act in a later release: checked now, so that a file that is taken today is taken
//! then.

use super::Check;
use crate::alerts::template;
use crate::config::problem::Trail;
use crate::config::raw::Raw;

pub(super) fn sections(check: &mut Check<'_>, raw: &Raw) {
    let root = Trail::default();
    let webhooks = root.key("webhooks");
    for (name, definition) in &raw.webhooks.definitions {
        let trail = webhooks.key("definitions").key(name);
        // The name becomes a path segment.
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            let what = "a webhook's name has letters, digits, `-` and `_` only";
            check.problem(&trail, what.to_owned());
        }
        for (key, is_there) in [
            ("secret", definition.secret.is_some()),
            ("model", definition.model.is_some()),
            ("prompt_template", definition.prompt_template.is_some()),
        ] {
            if !is_there {
                check.missing(&trail, &[key], &format!("needs `{key}`"));
            }
        }
        if let Some(secret) = &definition.secret {
            check.secret(secret, &trail.key("secret"));
        }
        if let Some(model) = &definition.model {
            check.name(model, &trail.key("model"));
        }
        if let Some(text) = &definition.prompt_template
            && let Err(fault) = template::check_prompt(text)
        {
            let at = trail.key("prompt_template");
            check.template_fault(&fault, template::prompt_names(), &at);
        }
        if let Some(url) = &definition.callback_url {
            // A name in another script is a host name too: it is converted when it is used.
            let plain = |c: char| if c.is_ascii() { c } else { 'x' };
            let url: String = url.chars().map(plain).collect();
            check.url(Some(&url), definition.allow_private, (&trail, "callback_url"));
        }
    }
    for (section, enabled) in [("webhooks", raw.webhooks.enabled), ("audit", raw.audit.enabled)] {
        if enabled {
            let what = "checked, and without effect in this release".to_owned();
            check.warning(&root.key(section).key("enabled"), what);
        }
    }
}

impl Check<'_> {
    /// As a problem, of what does no harm.
    pub(super) fn warning(&mut self, trail: &Trail, what: String) {
        self.problem(trail, what);
        self.warnings.extend(self.problems.pop());
    }
}
