use super::*;
use crate::testing::{Inbox, answer, cancel, dispatch, fleet, in_time, local_bus, new_worker, recall, term};
use pvf_scheduler::Command;
use pvf_shared::{
    Bytes,
    bus::local::LocalBus,
    ids::JobId,
    wire::{CommandRefusal, DispatchReply, WorkerKind},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const PAYLOAD: usize = 4096;

fn commands(bus: &Arc<LocalBus>) -> (Commands, UnboundedReceiver<Event>) {
    let (events, received) = unbounded_channel();
    (Commands::new((bus.clone(), Traces::default()), fleet(), &ProtocolTimeouts::default(), term(), events), received)
}

fn send(commands: &Commands, worker: WorkerId, messages: impl IntoIterator<Item = ToWorker>) {
    for message in messages {
        if let Some(sending) = commands.queue(worker, message) {
            tokio::spawn(sending);
        }
    }
}

async fn delivered(events: &mut UnboundedReceiver<Event>) -> (Command, JobId, Delivery) {
    match in_time(events.recv()).await.unwrap() {
        Event::Delivered { command, job, delivery, .. } => (command, job, delivery),
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn commands_to_one_worker_keep_their_order_and_do_not_wait_for_answers() {
    let (bus, worker) = (local_bus(PAYLOAD), new_worker(WorkerKind::Execute));
    let (commands, mut events) = commands(&bus);
    let mut inbox = Inbox::of_worker(&bus, &worker).await;
    let sent = [dispatch(1, Bytes::new()), dispatch(2, Bytes::new()), recall(2), cancel(1), dispatch(3, Bytes::new())];
    send(&commands, worker, sent.clone());
    // None is answered before all are here.
    let mut received = Vec::new();
    for message in &sent {
        let (decoded, raw) = inbox.next::<ToWorker>().await;
        assert_eq!(decoded, *message);
        received.push(raw);
    }
    for message in received.iter().rev() {
        answer(&bus, message, &DispatchReply::Taken).await;
    }
    let mut answered = Vec::new();
    for _ in &sent {
        let (command, job, delivery) = delivered(&mut events).await;
        assert_eq!(delivery, Delivery::Taken);
        answered.push((command, job.0));
    }
    answered.sort_by_key(|(command, job)| (*job, *command as u8));
    use Command::*;
    assert_eq!(answered, [(Dispatch, 1), (Cancel, 1), (Dispatch, 2), (Recall, 2), (Dispatch, 3)]);
    assert!(commands.queues().is_empty());
}

#[tokio::test]
async fn a_slow_worker_does_not_delay_another() {
    let (bus, slow, quick) = (local_bus(PAYLOAD), new_worker(WorkerKind::Execute), new_worker(WorkerKind::Execute));
    let (commands, mut events) = commands(&bus);
    let _silent = Inbox::of_worker(&bus, &slow).await;
    let mut inbox = Inbox::of_worker(&bus, &quick).await;
    send(&commands, slow, [dispatch(1, Bytes::new())]);
    send(&commands, quick, [dispatch(2, Bytes::new())]);
    let (_, message) = inbox.next::<ToWorker>().await;
    answer(&bus, &message, &DispatchReply::Refused(CommandRefusal::Draining)).await;
    let refused = Delivery::Refused(CommandRefusal::Draining);
    assert_eq!(delivered(&mut events).await, (Command::Dispatch, JobId(2), refused));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_sent() {
    let (bus, worker) = (local_bus(16), new_worker(WorkerKind::Execute));
    let (commands, mut events) = commands(&bus);
    send(&commands, worker, [cancel(1)]);
    let (_, _, delivery) = delivered(&mut events).await;
    assert!(matches!(&delivery, Delivery::NotSent(why) if why.contains("max_payload")), "{delivery:?}");
}

#[tokio::test]
async fn without_a_worker_there_is_no_delivery() {
    let (commands, mut events) = commands(&local_bus(PAYLOAD));
    send(&commands, new_worker(WorkerKind::Execute), [recall(1)]);
    assert_eq!(delivered(&mut events).await, (Command::Recall, JobId(1), Delivery::NoSubscriber));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_answer_in_time_may_have_the_command() {
    let (bus, worker) = (local_bus(PAYLOAD), new_worker(WorkerKind::Execute));
    let (commands, mut events) = commands(&bus);
    let _silent = Inbox::of_worker(&bus, &worker).await;
    send(&commands, worker, [cancel(1)]);
    let (_, _, delivery) = delivered(&mut events).await;
    assert!(matches!(delivery, Delivery::Unknown(_)), "{delivery:?}");
}

#[tokio::test]
async fn the_queue_of_a_lost_worker_is_dropped() {
    let (bus, worker) = (local_bus(PAYLOAD), new_worker(WorkerKind::Execute));
    let (commands, mut events) = commands(&bus);
    let mut inbox = Inbox::of_worker(&bus, &worker).await;
    let sending = commands.queue(worker, cancel(1)).expect("the first command starts to send");
    assert!(commands.queue(worker, cancel(2)).is_none());
    commands.drop_queue(&worker);
    // It registered again. The queue is still the same, so that the order stays.
    assert!(commands.queue(worker, cancel(3)).is_none());
    tokio::spawn(sending);
    let (received, message) = inbox.next::<ToWorker>().await;
    assert_eq!(received, cancel(3));
    answer(&bus, &message, &DispatchReply::Taken).await;
    assert_eq!(delivered(&mut events).await, (Command::Cancel, JobId(3), Delivery::Taken));
    assert!(commands.queues().is_empty());
    // An unknown worker has no queue to drop.
    commands.drop_queue(&new_worker(WorkerKind::Execute));
}
