//! One process writes the ledger after another, which still has calls in flight.

use super::*;

#[test]
fn what_ends_in_a_predecessor_is_kept_by_its_successor() {
    let dir = TempDir::new().unwrap();
    let predecessor = open(dir.path());
    assert_eq!(settle(&predecessor, sample::record(1, noon())), Durability::Kept);
    predecessor.open(sample::opened(2, noon()));
    assert!(predecessor.flush());

    let successor = Ledger::waiting(dir.path(), Settings::default(), Arc::new(System));
    assert!(successor.begin(true).is_err(), "the ledger is the other's");
    predecessor.pause();
    // It waits: nobody writes it yet.
    let late = predecessor.settle(Arc::new(sample::record(2, noon())));
    successor.begin(true).unwrap();
    let open = successor.reader().call(sample::id(2, noon())).unwrap().unwrap();
    assert_eq!(open.row.outcome, None, "it is not the successor's to settle");
    // Recorded before anything comes over, by the successor itself.
    assert_eq!(settle(&successor, sample::record(3, noon())), Durability::Kept);

    let (lines, sent) = mpsc::channel::<(Vec<u8>, mpsc::Sender<bool>)>();
    let kept = move |some: &[u8]| {
        let (answer, kept) = mpsc::channel();
        lines.send((some.to_owned(), answer)).map_err(io::Error::other)?;
        kept.recv().map_err(io::Error::other)
    };
    predecessor.forward(kept).unwrap();
    let take = || {
        let (some, answer) = sent.recv().unwrap();
        let kept = successor.keep(&some).blocking_recv() == Ok(Durability::Kept);
        answer.send(kept).unwrap();
    };
    take();
    assert_eq!(late.blocking_recv(), Ok(Durability::Kept));
    let last = predecessor.settle(Arc::new(sample::record(4, noon())));
    take();
    assert_eq!(last.blocking_recv(), Ok(Durability::Kept));
    predecessor.close();
    for n in 1..=4 {
        let row = successor.reader().call(sample::id(n, noon())).unwrap().unwrap().row;
        assert_eq!(row.outcome, Some(Outcome::Ok), "{n}");
        assert_eq!(row.workload, "exe:agent.py");
    }
    assert_eq!(predecessor.health().dropped + successor.health().dropped, 0);
}

#[test]
fn a_ledger_that_nobody_has_taken_over_goes_on() {
    let dir = TempDir::new().unwrap();
    let ledger = open(dir.path());
    ledger.pause();
    let waiting = ledger.settle(Arc::new(sample::record(1, noon())));
    ledger.begin(true).unwrap();
    assert_eq!(waiting.blocking_recv(), Ok(Durability::Kept));
    assert!(ledger.flush());
}
