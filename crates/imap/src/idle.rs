//! IDLE (RFC 9051 §6.3.13): news as they happen, until DONE. A client that uses NOTIFY hears of what it asked for there
//! (RFC 5465 §4).

use letterlock_imap_wire::Event;
use letterlock_imap_wire::response::continuation;

use crate::connection::Connection;
use crate::names::Own;
use crate::news::{Alarm, look_around};
use crate::outcome::{Ended, Outcome, Reply};
use crate::refresh::refresh;
use crate::select::Selected;
use crate::session::User;
use crate::view::Removals;

impl Connection<'_> {
    /// Without a mailbox there may be nothing to tell, but the client may wait all the same.
    pub(crate) async fn idle(
        &mut self,
        user: &mut User,
        mut selected: Option<&mut Selected>,
    ) -> Outcome {
        self.wire.reader().expect_continuation();
        continuation(&mut self.wire.out, "idling");
        let deadline = self.deadline(Some(user));
        loop {
            let folder = selected.as_ref().map(|selected| selected.folder);
            look_around(user, folder, &mut Own::default(), &mut self.wire).await?;
            if let Some(selected) = selected.as_deref_mut() {
                refresh(user, selected, Removals::Told, false, &mut self.wire).await?;
            }
            // Before the choice below, which may give up the wait for the client but not what is being sent.
            self.wire.flush().await?;
            let alarm = Alarm::for_session(user, selected.as_deref());
            let event = tokio::select! {
                () = alarm.rings() => continue,
                event = self.next_by(Some(user), deadline) => event?,
            };
            return match event {
                Event::Line(line) if line.expose().eq_ignore_ascii_case(b"DONE") => {
                    Ok(Reply::ok("Done idling"))
                }
                Event::Fatal { text } => Err(Ended::Bye(text.into()).into()),
                _ => Ok(Reply::bad("DONE was expected")),
            };
        }
    }
}
