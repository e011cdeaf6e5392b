//! Configuration: plain data with exact places for every mistake.

/// One table of the configuration while it is read.
#[derive(Debug)]
pub struct Section<'a> {
    _doc: std::marker::PhantomData<&'a ()>,
}
