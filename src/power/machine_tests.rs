//! A switch that obeys, one that lies, one that is gone.

use proptest::prelude::*;

use super::*;

fn fault() -> Fault {
    faults::UNREACHABLE
}

/// Runs the machine against a contact, time jumping from deadline to deadline.
struct Bench {
    now: Instant,
    machine: Machine,
    contact: Option<bool>,
    reachable: bool,
    stuck: bool,
    told: Vec<Action>,
    switchings: u32,
}

impl Bench {
    fn new(latch: Latch, contact: Option<bool>) -> Self {
        let now = Instant::now();
        Bench {
            now,
            machine: Machine::new(now, latch),
            contact,
            reachable: true,
            stuck: false,
            told: Vec::new(),
            switchings: 0,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(action) = self.machine.poll() {
                match action {
                    Action::Switch(on) => {
                        self.switchings += 1;
                        let result = if self.reachable { Ok(()) } else { Err(fault()) };
                        if self.reachable && !self.stuck && self.contact.is_some() {
                            self.contact = Some(on);
                        }
                        self.machine.switched(self.now, result);
                    }
                    Action::Look => {
                        let result = if self.reachable {
                            Ok(self.contact)
                        } else {
                            Err(fault())
                        };
                        self.machine.seen(self.now, result);
                    }
                    other => self.told.push(other),
                }
            }
            match self.machine.deadline().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.machine.tick(self.now);
        }
        self.now = end;
    }

    fn outcome(&self, id: OrderId) -> Option<Outcome> {
        self.told.iter().find_map(|a| match a {
            Action::Reply(of, outcome) if *of == id => Some(outcome.clone()),
            _ => None,
        })
    }

    fn level(&self) -> Supply {
        let mut levels = self.told.iter().filter_map(|a| match a {
            Action::Level(supply) => Some(supply.clone()),
            _ => None,
        });
        levels.next_back().expect("a level")
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_order_is_verified_by_looking() {
    let mut bench = Bench::new(Latch::None, Some(false));
    bench.run(Duration::ZERO);
    assert_eq!(bench.level().on, Some(false));
    bench.machine.order(bench.now, 1, Order::On);
    bench.run(MINUTE);
    assert_eq!(bench.outcome(1), Some(Outcome::Verified));
    assert_eq!(bench.level().on, Some(true));
}

#[test]
fn a_switch_that_cannot_be_asked_is_told_and_not_believed_to_be_on() {
    let mut bench = Bench::new(Latch::None, None);
    bench.machine.order(bench.now, 1, Order::On);
    bench.run(MINUTE);
    assert_eq!(bench.outcome(1), Some(Outcome::Sent));
    assert_eq!(bench.level().on, None);
}

#[test]
fn a_switch_that_says_yes_and_stays_off_is_told_of() {
    let mut bench = Bench::new(Latch::None, Some(false));
    bench.stuck = true;
    bench.machine.order(bench.now, 1, Order::On);
    bench.run(MINUTE);
    assert!(
        matches!(bench.outcome(1), Some(Outcome::Rejected { .. })),
        "{:?}",
        bench.told
    );
    assert_eq!(bench.level().on, Some(false));
}

#[test]
fn an_unreachable_switch_ends_an_order_and_is_unknown() {
    let mut bench = Bench::new(Latch::None, Some(true));
    bench.run(Duration::ZERO);
    bench.reachable = false;
    bench.machine.order(bench.now, 1, Order::Off);
    bench.run(MINUTE);
    assert!(
        matches!(bench.outcome(1), Some(Outcome::Unverified { .. })),
        "{:?}",
        bench.told
    );
    assert_eq!(bench.level().on, None);
    assert_eq!(bench.switchings, TRIES);
}

#[test]
fn a_cut_goes_past_an_order_is_tried_long_and_stays() {
    let mut bench = Bench::new(Latch::None, Some(true));
    bench.reachable = false;
    bench.machine.order(bench.now, 1, Order::On);
    bench.machine.order(bench.now, 2, Order::Cut(fault()));
    bench.run(Duration::from_secs(20));
    assert!(matches!(bench.outcome(1), Some(Outcome::Refused(_))));
    assert_eq!(bench.outcome(2), None);
    // A cut under way is not undone by a late "on".
    bench.machine.order(bench.now, 3, Order::On);
    bench.reachable = true;
    bench.run(MINUTE);
    assert!(matches!(bench.outcome(3), Some(Outcome::Refused(_))));
    assert_eq!(bench.outcome(2), Some(Outcome::Verified));
    let level = bench.level();
    assert_eq!((level.on, level.cut), (Some(false), true));
    assert_eq!(level.fault.expect("stays").code, "power/cut");
    assert!(bench.told.contains(&Action::Remember(Latch::Cut)));
    // Only a person's order ends it.
    bench.machine.order(bench.now, 4, Order::On);
    bench.run(MINUTE);
    assert_eq!(bench.outcome(4), Some(Outcome::Verified));
    assert!(!bench.level().cut && bench.level().fault.is_none());
    assert!(bench.told.contains(&Action::Remember(Latch::None)));
}

#[test]
fn a_cut_that_fails_for_good_says_pull_the_plug() {
    let mut bench = Bench::new(Latch::None, Some(true));
    bench.stuck = true;
    bench.machine.order(bench.now, 1, Order::Cut(fault()));
    bench.run(10 * MINUTE);
    assert_eq!(bench.switchings, TRIES_CUT);
    assert!(matches!(bench.outcome(1), Some(Outcome::Rejected { .. })));
    assert_eq!(bench.level().fault.expect("told").code, "power/cut-failed");
}

#[test]
fn what_was_put_off_is_known_after_a_restart() {
    let mut bench = Bench::new(Latch::None, Some(true));
    bench.machine.order(bench.now, 1, Order::Off);
    bench.run(MINUTE);
    assert!(bench.told.contains(&Action::Remember(Latch::Off)));
}

proptest! {
    /// Whatever happens to the switch, every order ends, and exactly once.
    #[test]
    fn every_order_ends_once(steps in proptest::collection::vec((0u8..6, 0u64..5_000), 1..60)) {
        let mut bench = Bench::new(Latch::None, Some(false));
        let mut ids = 0;
        for (what, ms) in steps {
            match what {
                0 => bench.reachable = !bench.reachable,
                1 => bench.stuck = !bench.stuck,
                2 => bench.contact = bench.contact.map(|on| !on),
                n => {
                    ids += 1;
                    let order = match n { 3 => Order::On, 4 => Order::Off, _ => Order::Cut(fault()) };
                    bench.machine.order(bench.now, ids, order);
                }
            }
            bench.run(Duration::from_millis(ms));
        }
        bench.run(20 * MINUTE);
        for id in 1..=ids {
            let ends = bench.told.iter().filter(|a| matches!(a, Action::Reply(of, _) if *of == id)).count();
            prop_assert_eq!(ends, 1, "order {}", id);
        }
    }
}
