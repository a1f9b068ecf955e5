//! THREAD's two algorithms (RFC 5256 §3).

use super::BaseSubject;
use std::collections::HashMap;

/// Longer chains of references are cut: no discussion is that deep, and each link is checked against all above it.
const DEEPEST: usize = 1_000;

/// What threading knows of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadMessage {
    /// What stands for it in the answer: a sequence number or UID.
    pub number: u32,
    /// When it was sent, in seconds since the epoch; of equal ones the first in the list comes first.
    pub sent: i64,
    /// Its base subject, folded.
    pub subject: BaseSubject,
    /// Its Message-ID, without the angle brackets.
    pub id: Option<Vec<u8>>,
    /// The ids of References, oldest first, or else the first one of In-Reply-To.
    pub references: Vec<Vec<u8>>,
}

/// Trees of messages. A node without a number stands for a message that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Threads {
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    number: Option<u32>,
    /// Index of the message in the caller's list; none for one that is not there.
    message: Option<usize>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// ORDEREDSUBJECT: messages with the same base subject, one after the other by date; the first is the parent of all others.
pub fn by_subject(messages: &[ThreadMessage]) -> Threads {
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_by_key(|index| (messages[*index].sent, *index));
    let mut threads = Threads::of(messages);
    let mut first: HashMap<&str, usize> = HashMap::new();
    for index in order {
        match first.get(messages[index].subject.text.as_str()) {
            Some(root) => threads.nodes[*root].children.push(index),
            None => {
                first.insert(&messages[index].subject.text, index);
                threads.roots.push(index);
            }
        }
    }
    threads
}

/// REFERENCES: by Message-ID, References and In-Reply-To, and then by base subject.
pub fn by_references(messages: &[ThreadMessage]) -> Threads {
    let mut threads = Threads::of(messages);
    threads.link(messages);
    threads.roots =
        (0..threads.nodes.len()).filter(|node| threads.nodes[*node].parent.is_none()).collect();
    threads.prune();
    threads.sort_roots(messages);
    threads.gather(messages);
    threads.sort_all(messages);
    threads
}

impl Threads {
    fn of(messages: &[ThreadMessage]) -> Self {
        let nodes = messages.iter().enumerate().map(|(index, message)| Node {
            number: Some(message.number),
            message: Some(index),
            ..Node::default()
        });
        Self { nodes: nodes.collect(), roots: Vec::new() }
    }

    /// Step 1. Of messages with the same id the first one has it.
    fn link(&mut self, messages: &[ThreadMessage]) {
        let mut by_id: HashMap<&[u8], usize> = HashMap::new();
        for (index, message) in messages.iter().enumerate() {
            if let Some(id) = &message.id {
                by_id.entry(id).or_insert(index);
            }
        }
        for (index, message) in messages.iter().enumerate() {
            let mut above = None;
            for id in &message.references {
                let node = *by_id.entry(id).or_insert_with(|| {
                    self.nodes.push(Node::default());
                    self.nodes.len() - 1
                });
                if let Some(above) = above
                    && self.nodes[node].parent.is_none()
                    && self.may_hold(above, node)
                {
                    self.nodes[node].parent = Some(above);
                }
                above = Some(node);
            }
            // What a message says of itself counts more than what others said of it.
            if let Some(above) = above
                && self.may_hold(above, index)
            {
                self.nodes[index].parent = Some(above);
            }
        }
        for node in 0..self.nodes.len() {
            if let Some(parent) = self.nodes[node].parent {
                self.nodes[parent].children.push(node);
            }
        }
    }

    /// Whether `child` may hang under `parent`: no loops.
    fn may_hold(&self, parent: usize, child: usize) -> bool {
        let mut at = Some(parent);
        for _ in 0..DEEPEST {
            match at {
                None => return true,
                Some(node) if node == child => return false,
                Some(node) => at = self.nodes[node].parent,
            }
        }
        false
    }

    /// Every node that hangs under a root, each after all that hang under it.
    fn bottom_up(&self) -> Vec<usize> {
        let mut order = self.roots.clone();
        let mut next = 0;
        while let Some(node) = order.get(next) {
            order.extend(&self.nodes[*node].children);
            next += 1;
        }
        order.reverse();
        order
    }

    /// Step 3: what stands for a missing message goes, unless it holds several threads together.
    fn prune(&mut self) {
        for node in self.bottom_up() {
            let children = std::mem::take(&mut self.nodes[node].children);
            self.nodes[node].children = self.without_dummies(children);
        }
        let roots = std::mem::take(&mut self.roots);
        for root in roots {
            match (&self.nodes[root], self.nodes[root].children.as_slice()) {
                (Node { number: None, .. }, []) => {}
                (Node { number: None, .. }, [only]) => self.roots.push(*only),
                _ => self.roots.push(root),
            }
        }
    }

    fn without_dummies(&mut self, children: Vec<usize>) -> Vec<usize> {
        let mut kept = Vec::with_capacity(children.len());
        for child in children {
            if self.nodes[child].number.is_some() {
                kept.push(child);
            } else {
                kept.append(&mut self.nodes[child].children);
            }
        }
        kept
    }

    /// The message whose date and subject a node has: its own, or that of its first child.
    fn lead(&self, node: usize) -> Option<usize> {
        let found = &self.nodes[node];
        found.message.or_else(|| self.nodes[*found.children.first()?].message)
    }

    /// The subject of a node, if it says anything.
    fn subject<'m>(&self, node: usize, messages: &'m [ThreadMessage]) -> Option<&'m BaseSubject> {
        self.lead(node).map(|lead| &messages[lead].subject).filter(|own| !own.text.is_empty())
    }

    fn sort(&self, nodes: &mut [usize], messages: &[ThreadMessage]) {
        nodes.sort_by_key(|node| {
            let lead = self.lead(*node);
            (lead.map(|lead| messages[lead].sent), lead)
        });
    }

    fn sort_children(&mut self, node: usize, messages: &[ThreadMessage]) {
        let mut children = std::mem::take(&mut self.nodes[node].children);
        self.sort(&mut children, messages);
        self.nodes[node].children = children;
    }

    /// Step 4.
    fn sort_roots(&mut self, messages: &[ThreadMessage]) {
        let mut roots = std::mem::take(&mut self.roots);
        for root in &roots {
            if self.nodes[*root].number.is_none() {
                self.sort_children(*root, messages);
            }
        }
        self.sort(&mut roots, messages);
        self.roots = roots;
    }

    /// Step 5: threads of the same subject become one.
    fn gather(&mut self, messages: &[ThreadMessage]) {
        // A: which root each subject gathers under.
        let mut table: HashMap<&str, usize> = HashMap::new();
        for root in self.roots.clone() {
            let Some(own) = self.subject(root, messages) else { continue };
            match table.get(own.text.as_str()).copied() {
                None => {
                    table.insert(&own.text, root);
                }
                Some(other) => {
                    let is_dummy = |node: usize| self.nodes[node].number.is_none();
                    let other_replies = self.subject(other, messages).is_some_and(|s| s.is_reply);
                    if !is_dummy(other) && (is_dummy(root) || other_replies && !own.is_reply) {
                        table.insert(&own.text, root);
                    }
                }
            }
        }
        // B: gathering.
        let mut gone = vec![false; self.nodes.len()];
        for root in self.roots.clone() {
            let Some(own) = self.subject(root, messages) else { continue };
            let Some(head) = table.get(own.text.as_str()).copied() else { continue };
            if head == root {
                continue;
            }
            let own_is_dummy = self.nodes[root].number.is_none();
            let head_is_dummy = self.nodes[head].number.is_none();
            let head_replies = self.subject(head, messages).is_some_and(|s| s.is_reply);
            if own_is_dummy && head_is_dummy {
                let mut children = std::mem::take(&mut self.nodes[root].children);
                self.nodes[head].children.append(&mut children);
                gone[root] = true;
            } else if head_is_dummy || own.is_reply && !head_replies {
                self.nodes[head].children.push(root);
                gone[root] = true;
            } else {
                // Equals: a new node above both, which takes the head's place.
                let text = own.text.as_str();
                let both = Node { children: vec![head, root], ..Node::default() };
                self.nodes.push(both);
                gone.resize(self.nodes.len(), false);
                (gone[head], gone[root]) = (true, true);
                self.roots.push(self.nodes.len() - 1);
                table.insert(text, self.nodes.len() - 1);
            }
        }
        self.roots.retain(|root| !gone[*root]);
    }

    /// Step 6: siblings by date, those under a missing message first, since it has the date of its first child.
    fn sort_all(&mut self, messages: &[ThreadMessage]) {
        for node in self.bottom_up() {
            self.sort_children(node, messages);
        }
        let mut roots = std::mem::take(&mut self.roots);
        self.sort(&mut roots, messages);
        self.roots = roots;
    }

    /// The trees as numbers: for each node, each before those that hang under it, its depth and its own number or 0.
    pub fn flatten(&self) -> Vec<u32> {
        let mut flat = Vec::with_capacity(2 * self.nodes.len());
        let mut open: Vec<(u32, usize)> = self.roots.iter().rev().map(|root| (0, *root)).collect();
        while let Some((depth, node)) = open.pop() {
            let node = &self.nodes[node];
            flat.extend([depth, node.number.unwrap_or(0)]);
            open.extend(node.children.iter().rev().map(|child| (depth + 1, *child)));
        }
        flat
    }

    /// The trees that [`Threads::flatten`] made these numbers of, each message with what stands for it now; one for which
    /// nothing does is not there any more.
    pub fn from_flat(flat: &[u32], mut name: impl FnMut(u32) -> Option<u32>) -> Self {
        let (mut threads, mut above) = (Self::default(), Vec::<usize>::new());
        for pair in flat.as_chunks::<2>().0 {
            let [depth, number] = *pair;
            let number = if number == 0 { None } else { name(number) };
            let node = threads.nodes.len();
            threads.nodes.push(Node { number, ..Node::default() });
            above.truncate(depth as usize);
            match above.last() {
                Some(parent) => threads.nodes[*parent].children.push(node),
                None => threads.roots.push(node),
            }
            above.push(node);
        }
        threads
    }

    /// Appends the trees as THREAD tells them: `(2)(3 6 (4 23)(44 7 96))` (RFC 5256 §4).
    pub fn write(&self, out: &mut Vec<u8>) {
        enum Step {
            Node { node: usize, space: bool },
            Put(u8),
        }
        let mut steps = Vec::new();
        for root in &self.roots {
            steps.push(Step::Put(b')'));
            steps.push(Step::Node { node: *root, space: false });
            steps.push(Step::Put(b'('));
            while let Some(step) = steps.pop() {
                let (node, space) = match step {
                    Step::Node { node, space } => (node, space),
                    Step::Put(octet) => {
                        out.push(octet);
                        continue;
                    }
                };
                let node = &self.nodes[node];
                if let Some(number) = node.number {
                    let space = if space { " " } else { "" };
                    crate::response::put(out, format_args!("{space}{number}"));
                }
                match node.children.as_slice() {
                    [] => {}
                    [only] => {
                        steps.push(Step::Node { node: *only, space: node.number.is_some() });
                    }
                    several => {
                        if node.number.is_some() {
                            out.push(b' ');
                        }
                        for child in several.iter().rev() {
                            steps.push(Step::Put(b')'));
                            steps.push(Step::Node { node: *child, space: false });
                            steps.push(Step::Put(b'('));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
