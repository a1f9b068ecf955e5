//! Whether the index is what it should be.

use std::sync::Arc;

use crate::error::MailboxError;
use crate::live::Live;

use super::block::{Reader, documents};
use super::segment::{self, BLOCKS_PER_JOB, Segment};

/// Reads all of it; answers what is wrong, in words that hold no mail.
pub(crate) async fn check(live: &Arc<Live>) -> Result<Vec<String>, MailboxError> {
    let _here = live.index.segments.read().await;
    let mut wrong = Vec::new();
    let start = live.read(|conn, _| {
        let state: i64 = conn.query_row(
            "SELECT count(*) FROM search_state WHERE floor >= frontier",
            [],
            |row| row.get(0),
        )?;
        Ok((state, segment::list(conn)?))
    });
    let segments = match start.await {
        Ok((1, segments)) => segments,
        Ok(_) => return Ok(vec!["its state is missing or cannot be".to_owned()]),
        Err(MailboxError::Damaged(error)) => return Ok(vec![error]),
        Err(error) => return Err(error),
    };
    for segment in segments {
        match check_segment(live, segment).await {
            Ok(()) => {}
            Err(MailboxError::Damaged(error)) => {
                wrong.push(format!("segment {}: {error}", segment.id))
            }
            Err(error) => return Err(error),
        }
    }
    Ok(wrong)
}

async fn check_segment(live: &Live, segment: Segment) -> Result<(), MailboxError> {
    let damaged = MailboxError::damaged;
    let id = segment.id;
    let bodies = live.read(move |conn, _| segment::bodies(conn, id)).await?.unwrap_or_default();
    if bodies.len() as u64 != segment.documents {
        return Err(damaged("it has not as many bodies as it says"));
    }
    let (count, mut from, mut last) = (bodies.len(), 0, String::new());
    loop {
        let blocks =
            live.read(move |conn, _| segment::blocks(conn, id, from, BLOCKS_PER_JOB)).await?;
        let Some(end) = blocks.last().map(|(number, _)| number + 1) else { break };
        if end != from + blocks.len() as i64 {
            return Err(damaged("a block is missing"));
        }
        from = end;
        let check = move || {
            for (_, block) in &blocks {
                let mut reader = Reader::new(block)?;
                while let Some(term) = reader.term() {
                    if *term <= *last {
                        return Err(damaged("its terms are not in order"));
                    }
                    last = term.to_owned();
                    if documents(reader.next_list()?)
                        .any(|(document, _)| document as usize >= count)
                    {
                        return Err(damaged("it names a body that it has not"));
                    }
                }
            }
            Ok(last)
        };
        last = tokio::task::spawn_blocking(check).await.map_err(|_| MailboxError::Locked)??;
    }
    let expected: i64 = live
        .read(move |conn, _| {
            let sql = "SELECT count(*) FROM search_terms WHERE id >= ?1 AND id < ?2";
            let range = [segment::block_id(id, 0), segment::block_id(id + 1, 0)];
            Ok(conn.query_row(sql, range, |row| row.get(0))?)
        })
        .await?;
    if expected == from { Ok(()) } else { Err(damaged("a block's postings are missing")) }
}
