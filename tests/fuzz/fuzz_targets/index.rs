//! Any bytes are an index or are refused.
#![no_main]

use layerd_fuzz::gcode::index::Index;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut bytes = b"layerd-index 1\n".to_vec();
    bytes.extend_from_slice(data);
    if let Ok(index) = Index::decode(&bytes) {
        index.time_at(100);
        index.progress_at(100);
        index.layer_start(3);
        index.object_at(u64::MAX);
        index.checkpoint_before(u64::MAX);
        Index::decode(&index.encode()).unwrap();
    }
});
