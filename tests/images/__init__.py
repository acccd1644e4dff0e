"""Images: documents, names, graph, layouts, import, export, conversion."""
