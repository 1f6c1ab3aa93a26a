//! How many requests were answered, and how.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use metrics::Counter;

use crate::metering;

/// The classes of statuses that answers have, as `pkgtorrent_requests_total` names them.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The answers of one endpoint, by class.
pub(super) struct Answered([Counter; CLASSES.len()]);

impl Answered {
    /// Of the endpoint with this name; the same for each worker.
    pub(super) fn at(endpoint: &'static str) -> Self {
        Self(CLASSES.map(|class| metering::REQUESTS.at(&[endpoint, class])))
    }
}

/// Counts an answer with its endpoint's.
pub(crate) fn count(request: &HttpRequest, status: StatusCode) {
    if let Some(Answered(classes)) = request.app_data::<Answered>()
        && let Some(class) = usize::from(status.as_u16() / 100).checked_sub(2).and_then(|n| classes.get(n))
    {
        class.increment(1);
    }
}
