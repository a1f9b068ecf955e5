//! The disk as the vault sees it.

use super::*;

impl Storage for World {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.state();
        state.may_look()?;
        if mode == OpenMode::Existing && !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !state.names.contains_key(path) {
            state.may_change()?;
        }
        let id = state.id_for(path);
        drop(state);
        Ok(Arc::new(WorldFile { world: self.clone(), id, path: path.to_owned() }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state();
        state.may_look()?;
        Ok(state.names.contains_key(path))
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.may_change()?;
        state.act(Op::Delete(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.may_change()?;
        state.act(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.may_sync()?;
        state.note(Op::SyncDir);
        Ok(())
    }

    fn filesystem(&self, _path: &Path) -> Option<u64> {
        self.state().whole_syncs.map(|_| 1)
    }

    fn sync_filesystem(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.may_sync()?;
        state.whole_syncs = state.whole_syncs.map(|count| count + 1);
        let files: Vec<u64> = state.files.keys().copied().collect();
        files.into_iter().for_each(|id| state.note(Op::Sync(id)));
        state.note(Op::SyncDir);
        Ok(())
    }
}

impl StorageFile for WorldFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.world.state();
        let bad = state.is_bad_read();
        if bad == Some(BadRead::Refused) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let file = &state.files[&self.id];
        let start = (offset as usize).min(file.len());
        let mut found = &file[start..file.len().min(start + buf.len())];
        if bad == Some(BadRead::Short) {
            found = &found[..found.len() / 2];
        }
        buf[..found.len()].copy_from_slice(found);
        Ok(found.len())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.world.state();
        let grows = (offset as usize + buf.len()).saturating_sub(state.files[&self.id].len());
        if grows > 0 && state.capacity.is_some_and(|capacity| state.used() + grows > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let allowed = state.may_change();
        let done = if allowed.is_ok() { buf } else { &buf[..buf.len() / 2] };
        state.act(Op::Write(self.id, offset, done.to_vec()));
        allowed
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.world.state();
        state.may_change()?;
        state.act(Op::Truncate(self.id, len));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.world.state();
        state.may_look()?;
        Ok(state.files[&self.id].len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.world.state();
        state.may_sync()?;
        *state.syncs.entry(self.path.clone()).or_default() += 1;
        state.note(Op::Sync(self.id));
        Ok(())
    }
}
