//! Which step a task works for, for those who stand behind the engine's traits and want to know.

tokio::task_local! {
    static STEP: String;
}

/// Runs a step's work under its id.
pub(super) async fn acting_for<T>(step: String, work: impl Future<Output = T>) -> T {
    STEP.scope(step, work).await
}

/// Shows the id of the step for which the calling task works. `None` outside of a step.
pub fn with_current_step<T>(show: impl FnOnce(&str) -> T) -> Option<T> {
    STEP.try_with(|step| show(step)).ok()
}
