//! What every driver owes to those above it, whatever it drives: the same command ends in the same way, and is
//! seen in the same order of states. Each printer of `layerd simulate` goes through the same stories, behind the
//! driver that the configuration names, its sessions run as the agent runs them, its events reduced as the agent
//! does. A new driver joins with a [`stand::Stand`] and a word in `every_driver!`. What takes long by its nature is
//! left to `tests/long/run conformance`, which makes a table of these stories and of those with others' printers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may be blunt"
)]

#[path = "conformance/bench.rs"]
mod bench;
#[path = "conformance/cancels.rs"]
mod cancels;
#[path = "conformance/stand.rs"]
mod stand;
#[path = "conformance/stories.rs"]
mod stories;

macro_rules! tell {
    ($kind:ident: $($(#[$note:meta])* $part:ident::$story:ident,)*) => {$(
        $(#[$note])*
        #[tokio::test]
        async fn $story() {
            crate::$part::$story(crate::stand::Ground::$kind()).await;
        }
    )*};
}

macro_rules! every_driver {
    ($($kind:ident),*) => {$(
        mod $kind {
            tell! { $kind:
                stories::prints_pauses_resumes_and_cancels,
                stories::a_print_is_executed_to_its_end,
                #[ignore = "shown by others in less time: tests/long/run conformance"]
                stories::an_object_is_left_out,
                stories::gcode_goes_through_or_is_refused,
                #[ignore = "shown by others in less time: tests/long/run conformance"]
                stories::a_print_begun_at_the_printer_is_seen_and_can_be_ended,
                stories::a_lost_connection_is_told_and_readings_age,
                stories::an_emergency_stop_ends_the_print,
                #[ignore = "shown by others in less time: tests/long/run conformance"]
                stories::a_printer_that_restarts_has_lost_its_print_once,
                stories::whoever_is_not_let_in_is_told_so_and_drives_nothing,
                #[ignore = "shown by others in less time: tests/long/run conformance"]
                stories::after_a_crash_the_driver_answers_for_its_print,
                #[ignore = "as long as a silence has to last to be one: tests/long/run conformance"]
                stories::silence_is_told_and_nothing_is_doubled_behind_it,
                cancels::while_it_starts,
                cancels::while_it_heats,
                cancels::while_it_pauses,
                cancels::while_it_is_paused,
                cancels::while_it_resumes,
                cancels::while_it_cancels,
                cancels::where_there_is_nothing_or_nobody,
            }
        }
    )*

        #[test]
        fn no_driver_is_left_out() {
            let tried = [$(stringify!($kind)),*];
            for factory in layerd::drivers::REGISTRY {
                assert!(tried.contains(&factory.kind()), "{} has no stand here", factory.kind());
            }
        }
    };
}

every_driver!(bambu, marlin, moonraker);
