//! Any line has a reading, and the short way equals the grammar.
#![no_main]

use layerd_fuzz::gcode::arc::Arc;
use layerd_fuzz::gcode::fast::{self, MoveWords};
use layerd_fuzz::gcode::lex::{self, Body, Dialect};
use layerd_fuzz::gcode::modal::{Modal, Plane, Step};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut modal = Modal::default();
    for text in data.split(|b| matches!(b, b'\n' | b'\r')) {
        let line = lex::line(text, Dialect { paren_comments: data.len() % 2 == 0 });
        match line.body {
            Body::Code(code) => {
                code.words().count();
            }
            Body::Extended(named) => {
                named.pairs().count();
            }
            _ => {}
        }
        let line = lex::line(text, Dialect::default());
        if let Some(read) = fast::linear(text)
            && let Body::Code(code) = line.body
        {
            assert_eq!(read.words, MoveWords::of(&code, false));
            assert_eq!(read.rapid, code.is(b'G', 0));
        }
        if let Some(read) = fast::arc(text)
            && modal.plane == Plane::Xy
        {
            let (mut short, mut long) = (modal.clone(), modal.clone());
            let by_grammar = match long.step(&line.body) {
                Step::Curve(moved, arc) => (moved, Some(arc)),
                Step::BadCurve(moved) => (moved, None),
                other => panic!("{other:?}"),
            };
            let moved = short.go(&read.words);
            let arc = Arc::level(&moved, read.clockwise, short.centre_of(&read));
            assert_eq!((moved, arc), by_grammar);
            assert_eq!(short, long);
        }
        modal.apply(text);
    }
});
