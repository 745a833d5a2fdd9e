//! The task group: every task the receivers start belongs to one, and shutdown waits for it.

use std::future::Future;

use tokio_util::task::TaskTracker;

/// Tasks of one kind, by name. Nothing is detached: [`TaskGroup::finished`] returns when the last has ended.
#[derive(Clone, Debug)]
pub struct TaskGroup {
    name: &'static str,
    tracker: TaskTracker,
}

impl TaskGroup {
    /// An empty group; the name is what logs say when its tasks do not end.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, tracker: TaskTracker::new() }
    }

    /// Starts a task on the current runtime.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        // The handle is not needed: the tracker is what waits for the task.
        drop(self.tracker.spawn(task));
    }

    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// True when no task is running.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Returns when no task is running (tasks may still start others meanwhile).
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Lets hyper start the tasks of its HTTP/2 streams inside the group.
impl<F> hyper::rt::Executor<F> for TaskGroup
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
