//! Figures over days: none are made up. Calls and events are.

use agent::admin::analytics::{Span, Summary, WorkloadReport};
use agent::admin::calls::{CallQuery, CallRow};
use agent::admin::{Agent as _, Analytics, Failure};
use agent::events::Bus;
use jiff::Timestamp;

use super::Fake;
use super::rows::at;

fn nothing() -> Failure {
    Failure::Unavailable("there are no figures here".to_owned())
}

impl Analytics for Fake {
    fn summary(&self, _span: &Span) -> Result<Summary, Failure> {
        Err(nothing())
    }

    fn workload(&self, _name: &str, _span: &Span) -> Result<Option<WorkloadReport>, Failure> {
        Ok(None)
    }

    fn page(&self, query: &CallQuery) -> Result<Vec<CallRow>, Failure> {
        self.calls(query)
    }

    fn events(&self) -> &Bus {
        &self.bus
    }

    fn ends(&self, _span: &Span) -> Result<(Timestamp, Timestamp), Failure> {
        Ok((at("2020-01-01T00:00:00Z"), at("2020-01-02T00:00:00Z")))
    }
}
