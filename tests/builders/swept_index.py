"""Removes what a test made in an Elasticsearch cluster."""

from __future__ import annotations

from indexer.elastic_connection import ElasticConnection
from indexer.elastic_settings import ElasticIndexSettings


def sweep(settings: ElasticIndexSettings) -> None:
    """Remove every index and template below the prefix."""
    connection = ElasticConnection(settings)
    found = connection.ask("GET", f"/{settings.prefix}*/_alias", parameters={"allow_no_indices": "true"})
    if found:
        connection.ask("DELETE", f"/{','.join(found)}", parameters={"ignore_unavailable": "true"})
    for template in connection.ask("GET", "/_index_template")["index_templates"]:
        if template["name"].startswith(settings.prefix):
            connection.ask("DELETE", f"/_index_template/{template['name']}")
    connection.close()
