//! What a check found.

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It is as it should be.
    Ok,
    /// It works, but less well than it could.
    Warning,
    /// As long as this is so, it does not do what it is there for.
    Problem,
    /// It cannot be told from here.
    Unknown,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Unknown => "unknown",
        }
    }
}

/// One line of the report. Its fields' names are a contract with who reads them as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) state: State,
    pub(super) found: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), advice: None }
    }

    pub(super) fn unknown(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Unknown, found: found.into(), advice: None }
    }

    pub(super) fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, state: State::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    pub(super) fn problem(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, state: State::Problem, found: found.into(), advice: Some(advice.into()) }
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The finding for people. Some of it was said by others, who must not write on this terminal what they like.
    pub(super) fn line(&self) -> String {
        let plain = |text: &str| text.replace(|sign: char| sign.is_control(), " ");
        let mut line = format!("{:<8} {:<16} {}\n", self.state.name(), self.check, plain(&self.found));
        if let Some(advice) = &self.advice {
            line.push_str(&format!("{:<25} -> {}\n", "", plain(advice)));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_to_do_and_nothing_to_the_terminal() {
        let line = Finding::problem("service", "it says \u{1b}[2J", "look\nthere").line();
        assert_eq!(line, "problem  service          it says  [2J\n                          -> look there\n");
        assert_eq!(Finding::ok("clock", "fine").line().lines().count(), 1);
    }

    #[test]
    fn json_has_the_same_fields_always() {
        let json = serde_json::to_value(Finding::unknown("clock", "no service")).unwrap();
        let expected =
            serde_json::json!({"check": "clock", "state": "unknown", "found": "no service", "advice": null});
        assert_eq!(json, expected);
    }
}
