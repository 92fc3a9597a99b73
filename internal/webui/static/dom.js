// The few things that the views do to the document. Text goes in as text: there
// is no way in here for markup.

export function $(id) {
  return document.getElementById(id);
}

// el makes an element. Attributes that are undefined are left out.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [k, v] of Object.entries(attributes)) if (v !== undefined) node.setAttribute(k, v);
  node.append(...children);
  return node;
}

// text sets a node's text when it is another one: a write of the same text still
// costs a layout and loses the reader's selection.
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function attr(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

// rows keeps the children of a parent equal to a list, by key: elements that
// stay are kept, so that scroll, focus and selection survive.
export class Rows {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.rows = new Map();
  }

  update(items, key, change) {
    const wanted = new Map(items.map((item) => [key(item), item]));
    for (const [k, row] of this.rows) {
      if (wanted.has(k)) continue;
      row.root.remove();
      this.rows.delete(k);
    }
    let at = this.parent.firstElementChild;
    for (const [k, item] of wanted) {
      let row = this.rows.get(k);
      if (row === undefined) {
        row = this.make(item);
        this.rows.set(k, row);
      }
      if (row.root === at) at = at.nextElementSibling;
      else this.parent.insertBefore(row.root, at);
      change(row, item);
    }
  }

  clear() {
    this.rows.clear();
    this.parent.replaceChildren();
  }
}
