//! A cancel in every state that a printer can be in: the print ends once and nothing stays hot, or there is nothing
//! to cancel, and then that is said and nothing moves.

use layerd::printer::command::Command;
use layerd::printer::model::StateWord;
use layerd::printer::outcome::Outcome;

use crate::bench::{Bench, answer, cancel, lines};
use crate::stand::Ground;

/// Behind a start that is not yet seen: the file may be on its way, the first line may be.
pub async fn while_it_starts(ground: Ground) {
    let bench = Bench::new(ground).await;
    let start = bench.give(Command::Start(bench.job())).await;
    let stop = bench.give(cancel()).await;
    let (start, stop) = (answer("start", start).await, answer("cancel", stop).await);
    assert!(stop.is_ok(), "{stop:?}, and the start {start:?}");
    // The word of a start that did not come about is taken back by who gave it, not by the driver.
    bench
        .until("no print", |s| {
            matches!(s.state.word(), StateWord::Operational | StateWord::Downloading)
        })
        .await;
    bench.still("behind a cancel of its start");
    let edges = bench.edges();
    assert!(
        edges.is_empty() || edges == ["Cancelled"] || edges == ["Started", "Cancelled"],
        "{edges:?}"
    );
    let moves = &lines(10)[5..];
    assert_eq!(
        bench.stand.executed(moves).unwrap_or_default(),
        [""; 0],
        "not a move was made"
    );
    // And it is good for the next one.
    bench.printing().await;
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.end().await;
}

pub async fn while_it_heats(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.over("behind a cancel while it heats").await;
    assert_eq!(bench.edges(), ["Started", "Cancelled"]);
    bench.end().await;
}

/// Behind a pause that has not come about: it waits for the heat, or for what is in the queue.
pub async fn while_it_pauses(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    let pause = bench.give(Command::Pause).await;
    let stop = bench.give(cancel()).await;
    let _ = answer("pause", pause).await;
    assert_eq!(answer("cancel", stop).await, Outcome::Verified);
    bench.over("behind a cancel of a pause").await;
    let mut edges = bench.edges();
    edges.retain(|edge| edge != "Paused");
    assert_eq!(edges, ["Started", "Cancelled"]);
    bench.end().await;
}

pub async fn while_it_is_paused(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    assert_eq!(bench.ask(Command::Pause).await, Outcome::Verified);
    bench.word(StateWord::Paused).await;
    assert_eq!(bench.ask(cancel()).await, Outcome::Verified);
    bench.over("behind a cancel of a paused print").await;
    assert_eq!(bench.edges(), ["Started", "Paused", "Cancelled"]);
    bench.end().await;
}

/// Behind a resume that has not come about: it heats again, it drives back.
pub async fn while_it_resumes(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    assert_eq!(bench.ask(Command::Pause).await, Outcome::Verified);
    bench.word(StateWord::Paused).await;
    let resume = bench.give(Command::Resume).await;
    let stop = bench.give(cancel()).await;
    let _ = answer("resume", resume).await;
    assert_eq!(answer("cancel", stop).await, Outcome::Verified);
    bench.over("behind a cancel of a resume").await;
    let mut edges = bench.edges();
    edges.retain(|edge| edge != "Resumed");
    assert_eq!(edges, ["Started", "Paused", "Cancelled"]);
    bench.end().await;
}

/// A second one is either told that it is on its way, or ends as the first one does; the print ends once.
pub async fn while_it_cancels(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.printing().await;
    bench.warm().await;
    let (first, second) = (bench.give(cancel()).await, bench.give(cancel()).await);
    assert_eq!(answer("cancel", first).await, Outcome::Verified);
    let second = answer("second cancel", second).await;
    assert!(
        second == Outcome::Verified || !second.message().is_empty(),
        "{second:?}"
    );
    bench.over("behind two cancels").await;
    assert_eq!(bench.edges(), ["Started", "Cancelled"]);
    bench.refused(cancel()).await;
    bench.end().await;
}

/// Idle, not connected, halted: refused in words, and nothing moves.
pub async fn where_there_is_nothing_or_nobody(ground: Ground) {
    let bench = Bench::new(ground).await;
    bench.refused(cancel()).await;
    bench.stand.pull();
    bench.until("down", |s| !s.state.is_up()).await;
    bench.refused(cancel()).await;
    bench.stand.mend();
    bench.ready().await;
    assert!(bench.ask(Command::EmergencyStop).await.is_ok());
    bench
        .until("stopped", |s| {
            matches!(s.state.word(), StateWord::Error | StateWord::Operational)
        })
        .await;
    bench.refused(cancel()).await;
    assert!(bench.edges().is_empty(), "{:?}", bench.edges());
    bench.end().await;
}
