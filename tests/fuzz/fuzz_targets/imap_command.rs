//! A client's octets, in any division into packets: no panic, the same events, nothing held back.
#![no_main]

use letterlock_imap_wire::url::MessageUrl;
use letterlock_imap_wire::{
    Command, CommandReader, Event, Limits, NameForm, NumberSet, SequenceSet, Tagged,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits =
    Limits { line: 2_000, literal: 500, append: 5_000, command: 4_000, discard: 10_000, depth: 30 };

fn read(data: &[u8], step: usize) -> Vec<Event> {
    let mut reader = CommandReader::new(LIMITS);
    let mut events: Vec<Event> = Vec::new();
    for packet in data.chunks(step) {
        reader.feed(packet);
        while let Some(event) = reader.next() {
            if matches!(&event, Event::Command(Tagged { command: Command::Idle, .. })) {
                reader.expect_continuation();
            }
            match (events.last_mut(), event) {
                // Packets decide where a message's chunks are cut, and nothing else.
                (Some(Event::AppendChunk(head)), Event::AppendChunk(tail)) => {
                    *head = [head.as_ref(), tail.as_ref()].concat().into();
                }
                (_, event) => events.push(event),
            }
        }
    }
    events
}

fn check_set(set: &SequenceSet) {
    assert_eq!(SequenceSet::parse(&set.to_string()).as_ref(), Ok(set));
    let Some(numbers) = set.resolve(1_000) else { return };
    let small = numbers.intersect(&NumberSet::from_ranges([(1, 2_000)]));
    assert!(small.iter().all(|number| numbers.contains(number)));
    assert_eq!(small.iter().count() as u64, small.len());
}

fuzz_target!(|data: &[u8]| {
    let step = data.first().map_or(1, |first| usize::from(first % 32) + 1);
    let whole = read(data, data.len().max(1));
    assert_eq!(whole, read(data, step));
    for event in &whole {
        match event {
            Event::Command(Tagged { command: Command::Fetch(fetch), .. }) => check_set(&fetch.set),
            Event::Command(Tagged { command: Command::Store(store), .. }) => check_set(&store.set),
            Event::Command(Tagged { command: Command::Delete(name), .. }) => {
                name.decode(NameForm::ModifiedUtf7);
                name.decode(NameForm::Utf8);
            }
            Event::AppendBegin(begin) => assert!(begin.size <= LIMITS.append),
            Event::CatenateText { size, .. } => assert!(*size <= LIMITS.append),
            Event::CatenateUrl(url) => {
                let _ = MessageUrl::parse(url);
            }
            _ => {}
        }
    }
});
