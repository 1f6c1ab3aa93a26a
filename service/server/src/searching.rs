//! Searches through all names of packages: few at once, beside the threads that answer.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::registry::Busy;

/// How many searches run at once; one through the names of a hundred thousand packages takes some ten milliseconds of a
/// core.
const SEARCHES_MAX: usize = 4;

/// How long one waits for those before it. Whoever looks at a page asks again in a moment.
const PATIENCE: Duration = Duration::from_secs(2);

/// Leave to search.
pub(crate) struct Searching {
    permits: Semaphore,
    patience: Duration,
}

impl Default for Searching {
    fn default() -> Self {
        Self { permits: Semaphore::new(SEARCHES_MAX), patience: PATIENCE }
    }
}

impl Searching {
    /// Runs a search on a thread of its own, unless too many are before it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        search: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let permit = timeout(self.patience, self.permits.acquire()).await;
        let _permit = permit.map_err(|_| Busy)?.map_err(|_| Busy)?;
        tokio::task::spawn_blocking(search).await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_than_can_run_at_once_is_told_to_try_again() {
        let searching = Searching { patience: Duration::from_millis(10), ..Searching::default() };
        let others = searching.permits.try_acquire_many(SEARCHES_MAX as u32).expect("all permits");
        assert_eq!(searching.run(|| 1).await, Err(Busy));
        drop(others);
        assert_eq!(searching.run(|| 1).await, Ok(1));
    }
}
