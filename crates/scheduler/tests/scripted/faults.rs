//! What breaks, and what then.

use sortie_scheduler::{
    ChunkError, DevicesHealth, Lane, PendingResponse, QueuedItem, Refusal, Request, RunError, Scheduler,
    SchedulerConfig, StartError,
};

use crate::rig::{Rig, RigScript, Scripted, Verdict, config, scripted};

#[tokio::test(start_paused = true)]
async fn a_failed_batch_is_bisected_and_the_poison_alone_fails() {
    let mut rig = Rig::new(40, 100).await;
    let broken = rig.submit(&[(1, 10), (2, 10), (3, 10), (4, 10)], Lane::Interactive, None);
    // 3 is the poison: whatever batch holds it fails.
    for expect in [vec![1, 2, 3, 4], vec![1, 2], vec![3, 4], vec![3], vec![4]] {
        assert_eq!(rig.batch().await, expect);
        let poisoned = expect.contains(&3);
        rig.end(if poisoned { Verdict::Error(RunError::Failed("bad".to_owned())) } else { Verdict::Answer });
    }
    let outputs = broken.await.unwrap().outputs;
    assert_eq!(outputs, [Ok(2), Ok(4), Err("given up: bad".to_owned()), Ok(8)]);
    assert_eq!((rig.scheduler.counts().poisoned, rig.scheduler.counts().batches_failed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_poison_is_quarantined() {
    let mut rig = Rig::new(10, 100).await;
    for _ in 0..2 {
        let poison = rig.submit(&[(3, 10)], Lane::Interactive, None);
        assert_eq!(rig.batch().await, [3]);
        rig.end(Verdict::Panic);
        assert!(poison.await.unwrap().outputs[0].is_err());
    }
    let (third, other) = {
        let running = rig.submit(&[(1, 10)], Lane::Interactive, None);
        assert_eq!(rig.batch().await, [1]);
        let pair = (rig.submit(&[(3, 5)], Lane::Interactive, None), rig.submit(&[(4, 5)], Lane::Interactive, None));
        rig.end(Verdict::Answer);
        running.await.unwrap();
        pair
    };
    assert_eq!(rig.batch().await, [4]);
    rig.end(Verdict::Answer);
    assert!(third.await.unwrap().outputs[0].as_ref().unwrap_err().contains("refused"));
    assert_eq!(other.await.unwrap().outputs, [Ok(8)]);
    let counts = rig.scheduler.counts();
    assert_eq!((counts.panics_run, counts.poisoned, counts.quarantined), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_answers_fails_its_batch_and_no_other() {
    let mut rig = Rig::new(10, 100).await;
    let broken = rig.submit(&[(1, 10)], Lane::Interactive, None);
    rig.batch().await;
    let other = rig.submit(&[(3, 10)], Lane::Interactive, None);
    rig.end(Verdict::Short);
    assert!(broken.await.unwrap().outputs[0].is_err());
    assert_eq!(rig.batch().await, [3]);
    rig.end(Verdict::Answer);
    assert_eq!(other.await.unwrap().outputs, [Ok(6)]);
    assert_eq!(rig.scheduler.load().queued_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn out_of_memory_halves_the_budget_and_runs_the_work_again() {
    let mut rig = Rig::new(40, 1_000).await;
    let response = rig.submit(&[(1, 10), (2, 10), (3, 10), (4, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await.len(), 4);
    rig.end(Verdict::Error(RunError::OutOfMemory("arena".to_owned())));
    for expect in [vec![1, 2], vec![3, 4]] {
        assert_eq!(rig.batch().await, expect);
        rig.end(Verdict::Answer);
    }
    assert_eq!(response.await.unwrap().outputs, [Ok(2), Ok(4), Ok(6), Ok(8)]);
    assert_eq!(rig.scheduler.load().max_batch_tokens, 20);
    let next = rig.submit(&[(5, 10), (6, 10), (7, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [5, 6]);
    rig.end(Verdict::Answer);
    assert_eq!(rig.batch().await, [7]);
    rig.end(Verdict::Answer);
    next.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_device_fails_what_ran_and_is_made_anew_once() {
    let mut rig = Rig::rebuilt(10, 100, 2).await;
    let running = rig.submit(&[(1, 10), (2, 10)], Lane::Interactive, None);
    assert_eq!(rig.batch().await, [1]);
    let queued = rig.submit(&[(3, 10)], Lane::Interactive, None);
    rig.end(Verdict::Error(RunError::DeviceLost("gone".to_owned())));
    assert_eq!(running.await, Err(ChunkError::BackendGone));
    rig.dropped.recv().await.unwrap();
    // What waited is served by the new one; the rest of the failed chunk is not.
    let mut seen = rig.batch().await;
    if seen == [2] {
        // It was prepared before the loss.
        rig.end(Verdict::Answer);
        seen = rig.batch().await;
    }
    assert_eq!(seen, [3]);
    rig.end(Verdict::Answer);
    assert_eq!(queued.await.unwrap().outputs, [Ok(6)]);
    assert_eq!(*rig.scheduler.health().borrow(), DevicesHealth::Ready);

    // A second loss at once is final.
    let last = rig.submit(&[(4, 10)], Lane::Interactive, None);
    rig.batch().await;
    let stranded = rig.submit(&[(5, 10)], Lane::Interactive, None);
    rig.end(Verdict::Error(RunError::DeviceLost("gone".to_owned())));
    assert_eq!(last.await, Err(ChunkError::BackendGone));
    assert_eq!(stranded.await, Err(ChunkError::BackendGone));
    rig.scheduler.health().wait_for(|health| *health == DevicesHealth::Dead).await.unwrap();
    assert_eq!(rig.scheduler.admit(Request::of(1)).unwrap_err(), Refusal::NoDevice);
    rig.scheduler.drained().await;
    let counts = rig.scheduler.counts();
    assert_eq!((counts.devices_lost, counts.devices_rebuilt), (2, 1));
}

/// Two devices before one queue, each of which can be made `makes` times.
async fn two(makes: [u32; 2]) -> (Scheduler<Scripted>, [RigScript; 2]) {
    type Make = Box<dyn FnMut() -> Result<Scripted, String> + Send>;
    let [(one, first), (two, second)] = makes.map(scripted);
    let makers: Vec<Make> = vec![Box::new(one), Box::new(two)];
    (Scheduler::start("two", config(10, 100), makers).await.unwrap(), [first, second])
}

fn submit(scheduler: &Scheduler<Scripted>, item: u32) -> PendingResponse<Scripted> {
    scheduler.admit(Request::of(10)).unwrap().submit(vec![QueuedItem { item, tokens: 10 }])
}

/// A batch of each device runs: the numbers of the items, in the devices' order.
async fn one_each(
    scheduler: &Scheduler<Scripted>,
    scripts: &mut [RigScript; 2],
) -> [(u32, PendingResponse<Scripted>); 2] {
    let first = submit(scheduler, 1);
    let [zero, one] = &mut *scripts;
    let (lead, other) = tokio::select! {
        _ = zero.batches.recv() => (0, 1),
        _ = one.batches.recv() => (1, 0),
    };
    let second = submit(scheduler, 2);
    assert_eq!(scripts[other].batches.recv().await.unwrap(), [2]);
    if lead == 0 { [(1, first), (2, second)] } else { [(2, second), (1, first)] }
}

#[tokio::test(start_paused = true)]
async fn what_one_of_two_devices_is_lost_with_the_other_answers() {
    let (scheduler, mut scripts) = two([1, 1]).await;
    let [(lost, of_lost), (well, of_well)] = one_each(&scheduler, &mut scripts).await;
    let queued = [3, 4, 5].map(|item| submit(&scheduler, item));
    scripts[0].verdicts.send(Verdict::Error(RunError::DeviceLost("gone".to_owned()))).unwrap();
    scripts[0].dropped.recv().await.unwrap();
    scripts[1].verdicts.send(Verdict::Answer).unwrap();
    assert_eq!(of_well.await.unwrap().outputs, [Ok(2 * well)]);
    // What was lost, what was about to run on the lost device, and what waited.
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.extend(scripts[1].batches.recv().await.unwrap());
        scripts[1].verdicts.send(Verdict::Answer).unwrap();
    }
    seen.sort_unstable();
    let mut all = vec![lost, 3, 4, 5];
    all.sort_unstable();
    assert_eq!(seen, all);
    assert_eq!(of_lost.await.unwrap().outputs, [Ok(2 * lost)]);
    for (item, response) in [3, 4, 5].into_iter().zip(queued) {
        assert_eq!(response.await.unwrap().outputs, [Ok(2 * item)]);
    }
    let counts = scheduler.counts();
    assert_eq!((counts.devices_lost, counts.devices_rebuilt), (1, 0));
    assert!((1..=2).contains(&counts.items_handed_on), "{counts:?}");
    assert_eq!(*scheduler.health().borrow(), DevicesHealth::Ready);
    let load = scheduler.load();
    assert_eq!((load.devices, load.queued_tokens), (1, 0));
    scheduler.drain();
    scheduler.drained().await;
}

#[tokio::test(start_paused = true)]
async fn what_devices_are_lost_by_is_tried_twice_and_no_more() {
    let (scheduler, mut scripts) = two([2, 2]).await;
    let [(lost, of_lost), (_, of_well)] = one_each(&scheduler, &mut scripts).await;
    let gone = || Verdict::Error(RunError::DeviceLost("gone".to_owned()));
    scripts[0].verdicts.send(gone()).unwrap();
    scripts[0].dropped.recv().await.unwrap();
    // Busy devices take it as they end; whichever does is lost too.
    scripts[1].verdicts.send(Verdict::Answer).unwrap();
    assert!(of_well.await.is_ok());
    let [zero, one] = &mut scripts;
    let (seen, verdicts) = tokio::select! {
        seen = zero.batches.recv() => (seen, &zero.verdicts),
        seen = one.batches.recv() => (seen, &one.verdicts),
    };
    assert_eq!(seen.unwrap(), [lost]);
    verdicts.send(gone()).unwrap();
    assert_eq!(of_lost.await, Err(ChunkError::BackendGone));
    assert_eq!(scheduler.counts().items_handed_on, 1);
    scheduler.drain();
    scheduler.drained().await;
    assert_eq!(scheduler.load().queued_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_cannot_be_made_says_why() {
    type Make = Box<dyn FnMut() -> Result<Scripted, String> + Send>;
    let start = |config, make: Make| Scheduler::start("x", config, vec![make]);
    let failed = start(SchedulerConfig::default(), Box::new(|| Err("no weights".to_owned()))).await;
    assert!(matches!(failed.unwrap_err(), StartError::Make(why) if why == "no weights"));
    let panicked = start(SchedulerConfig::default(), Box::new(|| panic!("bad graph"))).await;
    assert!(matches!(panicked.unwrap_err(), StartError::Panicked(why) if why == "bad graph"));
    let refused = start(config(0, 1), Box::new(|| Err(String::new()))).await;
    assert!(matches!(refused.unwrap_err(), StartError::Config(_)));
    let none = Scheduler::start("x", SchedulerConfig::default(), Vec::<Make>::new()).await;
    assert!(matches!(none.unwrap_err(), StartError::Config(_)));
}
