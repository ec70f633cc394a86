//! Channels replaced while alerts go on.

use super::*;

#[tokio::test]
async fn the_next_notice_goes_where_the_new_settings_say() {
    let dir = tempfile::tempdir().unwrap();
    let (mut before, mut after) =
        (Receiver::start(&["200 Ok"]).await, Receiver::start(&["200 Ok"]).await);
    let running = Running::start(dir.path(), parts(vec![webhook("ops", &before.url)]));
    running.alerts.notice(sample::budget());
    running.over(1).await;
    let channels = vec![webhook("ops", &after.url), webhook("more", &after.url)];
    running.alerts.replace(Settings { channels, routes: Vec::new() });
    running.alerts.notice(sample::budget());
    let over = running.over(3).await;
    assert!(over.iter().all(|one| one.status == Status::Delivered), "{over:?}");
    before.seen.recv().await.unwrap();
    assert!(before.seen.try_recv().is_err(), "told once");
    after.seen.recv().await.unwrap();
    after.seen.recv().await.unwrap();
    // Without channels nobody is told, and nothing waits.
    running.alerts.replace(Settings::default());
    running.alerts.notice(sample::budget());
    assert!(matches!(running.alerts.test("ops"), Err(TestError::Unknown(_))));
    running.stop().await;
}
