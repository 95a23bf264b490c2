// Search highlights: text escaped as HTML with <mark> round what matched. Read by hand, so that no markup of strangers is ever parsed.

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#34;": '"', "&#39;": "'", "&#x27;": "'" };

const plain = (text) => text.replace(/&(?:amp|lt|gt|quot|#34|#39|#x27);/g, (entity) => ENTITIES[entity]);

/** Text nodes and <mark> elements; any other tag in it stays visible text. */
export function marked(highlight) {
  const nodes = [];
  let isMarked = false;
  for (const part of highlight.split(/(<\/?mark>)/)) {
    if (part === "<mark>" || part === "</mark>") isMarked = part === "<mark>";
    else if (part) {
      const text = document.createTextNode(plain(part));
      if (isMarked) {
        const mark = document.createElement("mark");
        mark.append(text);
        nodes.push(mark);
      } else nodes.push(text);
    }
  }
  return nodes;
}
