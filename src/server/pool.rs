//! Where issuance runs: a fixed number of threads of its own behind a bounded queue, so that
//! accepting and health checks never wait behind signatures, and an overload is
//! answered at once instead of being piled up.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// A fixed pool of threads and its bounded queue.
#[derive(Debug)]
pub(super) struct Pool {
    runtime: Option<Runtime>,
    places: Arc<Semaphore>,
    outstanding: usize,
}

/// Why a piece of work has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolError {
    /// Every place in the queue is taken; nothing was done.
    Busy,
    /// The work ended in a panic, which the log line of that thread tells of.
    Panicked,
}

impl Pool {
    /// Starts `threads` threads with room for `outstanding` pieces of work, running and waiting.
    pub(super) fn start(threads: usize, outstanding: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("issue")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            places: Arc::new(Semaphore::new(outstanding)),
            outstanding,
        })
    }

    /// Runs `work` to its end, even if the caller goes away meanwhile: a signature that was begun is
    /// logged and recorded whoever is there to hear of it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, PoolError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| PoolError::Busy)?;
        let runtime = self.runtime.as_ref().ok_or(PoolError::Busy)?;
        let running = runtime.spawn(async move {
            let result = work.await;
            drop(place);
            result
        });
        running.await.map_err(|_| PoolError::Panicked)
    }
}

impl Pool {
    /// Pieces of work that run or wait, and how many may.
    pub(super) fn occupied(&self) -> (usize, usize) {
        let free = self.places.available_permits();
        (self.outstanding.saturating_sub(free), self.outstanding)
    }

    /// Waits until nothing runs. Whoever comes meanwhile is turned away.
    pub(super) async fn drained(&self) {
        let all = u32::try_from(self.outstanding).unwrap_or(u32::MAX);
        // An error means that the semaphore was closed, which nobody does.
        drop(self.places.acquire_many(all).await);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which must not be done on a thread of another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn an_overload_is_answered_at_once_and_ends_with_the_load() {
        let pool = Arc::new(Pool::start(1, 1).unwrap());
        let (release, released) = oneshot::channel::<()>();
        let first = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(async move { released.await.is_ok() }).await }
        });
        while pool.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(async {}).await, Err(PoolError::Busy));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(true));
        assert_eq!(pool.run(async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_not_its_place() {
        let pool = Pool::start(1, 1).unwrap();
        assert_eq!(
            pool.run(async { panic!("meant") }).await,
            Err::<(), _>(PoolError::Panicked)
        );
        assert_eq!(pool.run(async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_has_gone() {
        let pool = Pool::start(1, 1).unwrap();
        let (done, ended) = oneshot::channel();
        let (begun, begins) = oneshot::channel();
        let (go, gone) = oneshot::channel::<()>();
        {
            let run = pool.run(async move {
                begun.send(()).unwrap();
                gone.await.unwrap();
                done.send(()).unwrap();
            });
            tokio::select! {
                _ = run => panic!("it cannot end yet"),
                _ = begins => (),
            }
        }
        go.send(()).unwrap();
        ended.await.unwrap();
    }
}
