//! FETCH of large messages: pieces of them go to the client as they are read, so that none is ever in memory whole.

use std::ops::Range;

use letterlock_imap_wire::mime::Tree;
use letterlock_imap_wire::mime::encoding::{Decoder, TransferEncoding};
use letterlock_imap_wire::mime::header::find;
use letterlock_imap_wire::response::{BodyOctets, FetchResponse};
use letterlock_imap_wire::section::{UnknownEncoding, chosen};
use letterlock_imap_wire::text::preview;
use letterlock_imap_wire::{FetchItem, Partial, Section, SectionText};
use letterlock_mailbox::{BodyReader, MailboxError};

use crate::message::{Message, Plan, begin, legacy, write_plain};
use crate::outcome::{Ended, Stop};
use crate::wire::Wire;

/// Messages from this size on are read in pieces.
pub(crate) const LARGE: u64 = 256 * 1024;
/// How much is read at a time.
const PIECE: u64 = 512 * 1024;
/// Where PREVIEW looks for words, and how much of a part's header may stand before its encoding.
const HEAD: u64 = 256 * 1024;

/// A part whose encoding is to be undone.
struct Encoded {
    range: Range<u64>,
    encoding: TransferEncoding,
}

/// Writes the response, as [`crate::message::write`] does for small messages.
///
/// # Errors
/// What is wrong with the message, as long as nothing of the response was written; then the end of the session, since
/// the client would take what follows for the missing octets.
pub(crate) async fn write(
    plan: &Plan,
    message: &Message<'_>,
    reader: &BodyReader,
    wire: &mut Wire,
) -> Result<Result<(), UnknownEncoding>, Stop> {
    for item in &plan.items {
        if let FetchItem::Binary { part, .. } | FetchItem::BinarySize { part } = item
            && let Some(Encoded { encoding: TransferEncoding::Unknown, .. }) =
                encoded(reader, part).await?
        {
            return Ok(Err(UnknownEncoding));
        }
    }
    let done = respond(plan, message, reader, wire).await;
    done.map(Ok).map_err(|stop| match stop {
        Stop::End(ended) => ended.into(),
        Stop::Refuse(reply) => {
            tracing::warn!(reason = %reply.text, "a message broke off while it was sent");
            Ended::Gone.into()
        }
    })
}

async fn respond(
    plan: &Plan,
    message: &Message<'_>,
    reader: &BodyReader,
    wire: &mut Wire,
) -> Result<(), Stop> {
    let mut response = begin(plan, message, &mut wire.out);
    for item in &plan.items {
        match item {
            FetchItem::Section { section, partial, .. } => {
                let put =
                    |response: &mut FetchResponse, out: &mut Vec<u8>, octets: BodyOctets<'_>| {
                        response.section(out, section, *partial, octets);
                    };
                send_section(&mut response, reader, (section, *partial), wire, put).await?;
            }
            FetchItem::Rfc822 | FetchItem::Rfc822Header | FetchItem::Rfc822Text => {
                let (name, text) = legacy(item);
                let section = Section { part: Vec::new(), text };
                let put =
                    |response: &mut FetchResponse, out: &mut Vec<u8>, octets: BodyOctets<'_>| {
                        response.rfc822(out, name, octets);
                    };
                send_section(&mut response, reader, (&section, None), wire, put).await?;
            }
            FetchItem::Binary { part, partial, .. } => {
                send_binary(&mut response, reader, part, *partial, wire).await?;
            }
            FetchItem::BinarySize { part } => {
                let size = match encoded(reader, part).await? {
                    Some(found) => measure(reader, &found, None).await?.octets,
                    None => 0,
                };
                response.binary_size(&mut wire.out, part, size);
            }
            FetchItem::Preview { .. } => {
                // What begins further behind is no first word of anything.
                let head = reader.read(0..HEAD).await?;
                response.preview(&mut wire.out, &preview(&Tree::parse(&head)));
            }
            plain => write_plain(&mut response, plain, message, &mut wire.out),
        }
    }
    response.finish(&mut wire.out);
    Ok(wire.relieve().await?)
}

/// Writes `BODY[…]` or one of its old names.
async fn send_section(
    response: &mut FetchResponse,
    reader: &BodyReader,
    (section, partial): (&Section, Option<Partial>),
    wire: &mut Wire,
    put: impl Fn(&mut FetchResponse, &mut Vec<u8>, BodyOctets<'_>),
) -> Result<(), Stop> {
    let Some(range) = reader.section(section).await? else {
        put(response, &mut wire.out, BodyOctets::Missing);
        return Ok(());
    };
    if matches!(section.text, SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)) {
        let header = reader.read(range).await?;
        let fields = chosen(&header, &section.text).unwrap_or_default();
        let fields = partial.map_or(fields.as_slice(), |partial| partial.of(&fields));
        put(response, &mut wire.out, BodyOctets::Octets(fields));
        return Ok(wire.relieve().await?);
    }
    let range = partial.map_or(range.clone(), |partial| partial.within(range));
    put(response, &mut wire.out, BodyOctets::Following(range.end - range.start));
    let mut at = range.start;
    while at < range.end {
        let piece = piece(reader, at, range.end).await?;
        wire.send(&piece).await?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// The next octets before `end`; never none.
pub(crate) async fn piece(reader: &BodyReader, at: u64, end: u64) -> Result<bytes::Bytes, Stop> {
    let piece = reader.read(at..end.min(at.saturating_add(PIECE))).await?;
    if piece.is_empty() {
        return Err(Ended::Gone.into());
    }
    Ok(piece)
}

/// Where a part lies and how it is encoded, as `letterlock_imap_wire::section::binary_of` sees it: multiparts and messages
/// have no encoding of their own.
async fn encoded(reader: &BodyReader, part: &[u32]) -> Result<Option<Encoded>, MailboxError> {
    let section = |part: &[u32], text| Section { part: part.to_vec(), text };
    let Some(range) = reader.section(&section(part, SectionText::Whole)).await? else {
        return Ok(None);
    };
    let mut encoding = TransferEncoding::Identity;
    let first = [part, &[1]].concat();
    let is_leaf = !part.is_empty()
        && reader.section(&section(part, SectionText::Header)).await?.is_none()
        && reader.section(&section(&first, SectionText::Whole)).await?.is_none();
    if is_leaf && let Some(header) = reader.section(&section(part, SectionText::Mime)).await? {
        let header = reader.read(header.start..header.end.min(header.start + HEAD)).await?;
        encoding = TransferEncoding::parse(find(&header, "Content-Transfer-Encoding"));
    }
    Ok(Some(Encoded { range, encoding }))
}

/// What a decoded part is like.
#[derive(Default)]
struct Measure {
    octets: u64,
    /// Whether there is a NUL in what is wanted of it.
    nul: bool,
}

/// What of a piece of decoded octets, which begins at `at`, is wanted.
fn wanted(octets: &[u8], at: u64, partial: Option<Partial>) -> &[u8] {
    let Some(partial) = partial else { return octets };
    let range = partial.within(0..at + octets.len() as u64);
    let bound = |end: u64| (end.saturating_sub(at) as usize).min(octets.len());
    &octets[bound(range.start)..bound(range.end)]
}

/// Decodes a part for its size: a literal says first how long it is.
async fn measure(
    reader: &BodyReader,
    part: &Encoded,
    partial: Option<Partial>,
) -> Result<Measure, Stop> {
    let mut measure = Measure::default();
    let mut decoding = Decoding::new(part);
    while let Some(octets) = decoding.next(reader).await? {
        measure.nul |= wanted(&octets, measure.octets, partial).contains(&0);
        measure.octets += octets.len() as u64;
    }
    Ok(measure)
}

/// A part that is decoded piece by piece.
struct Decoding {
    at: u64,
    end: u64,
    /// `None` after the end.
    decoder: Option<Decoder>,
}

impl Decoding {
    fn new(part: &Encoded) -> Self {
        let decoder = Some(Decoder::new(part.encoding));
        Self { at: part.range.start, end: part.range.end, decoder }
    }

    async fn next(&mut self, reader: &BodyReader) -> Result<Option<Vec<u8>>, Stop> {
        let Some(decoder) = &mut self.decoder else { return Ok(None) };
        let mut out = Vec::new();
        if self.at < self.end {
            let piece = piece(reader, self.at, self.end).await?;
            self.at += piece.len() as u64;
            decoder.push(&piece, &mut out);
        } else if let Some(decoder) = self.decoder.take() {
            decoder.finish(&mut out);
        }
        Ok(Some(out))
    }
}

/// Writes `BINARY[…]`.
async fn send_binary(
    response: &mut FetchResponse,
    reader: &BodyReader,
    path: &[u32],
    partial: Option<Partial>,
    wire: &mut Wire,
) -> Result<(), Stop> {
    let Some(part) = encoded(reader, path).await? else {
        response.binary(&mut wire.out, path, partial, None);
        return Ok(());
    };
    let Measure { octets, nul } = measure(reader, &part, partial).await?;
    let range = partial.map_or(0..octets, |partial| partial.within(0..octets));
    response.binary_following(&mut wire.out, path, partial, range.end - range.start, nul);
    let (mut decoding, mut at) = (Decoding::new(&part), 0);
    while let Some(octets) = decoding.next(reader).await? {
        wire.send(wanted(&octets, at, partial)).await?;
        at += octets.len() as u64;
    }
    Ok(())
}
